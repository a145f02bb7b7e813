//! Seats of a course and courses of a student: decisions over two queries, with racing enrolments. Each step is asserted.

use std::num::NonZeroU32;

use annals::{BoxError, EventStore, StreamId};
use annals_domain::{Boundary, Event, ExecuteError, Retry, Slice, State};

use crate::story::Say;

/// What happens at the school.
#[derive(Event, Debug, Clone, PartialEq)]
pub enum SchoolEvent {
    /// A course is offered.
    #[event(name = "course-defined")]
    CourseDefined {
        /// Which.
        #[event(tag = "course")]
        course: String,
        /// For so many students.
        seats: usize,
    },
    /// A student takes a seat.
    #[event(name = "student-enrolled")]
    Enrolled {
        /// In which course.
        #[event(tag = "course")]
        course: String,
        /// Who.
        #[event(tag = "student")]
        student: u32,
    },
}

/// What a decision must know of a course.
#[derive(Debug, Clone, Default)]
pub struct Course {
    seats: Option<usize>,
    students: Vec<u32>,
}

impl State for Course {
    type Event = SchoolEvent;

    fn apply(&mut self, event: SchoolEvent) {
        match event {
            SchoolEvent::CourseDefined { seats, .. } => self.seats = Some(seats),
            SchoolEvent::Enrolled { student, .. } => self.students.push(student),
        }
    }
}

/// What a decision must know of a student.
#[derive(Debug, Clone, Default)]
pub struct Student {
    courses: usize,
}

impl State for Student {
    type Event = SchoolEvent;

    fn apply(&mut self, event: SchoolEvent) {
        if let SchoolEvent::Enrolled { .. } = event {
            self.courses += 1;
        }
    }
}

/// Why a student is not enrolled.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum No {
    /// There is no such course.
    #[error("there is no such course")]
    Course,
    /// The course is full.
    #[error("the course is full")]
    Seat,
    /// The student is in the course.
    #[error("the student is enrolled already")]
    Again,
    /// The student has enough courses.
    #[error("a student has at most {MOST_COURSES} courses")]
    Time,
}

const MOST_COURSES: usize = 2;

fn enrol(course: &Course, courses: usize, id: &str, student: u32) -> Result<SchoolEvent, No> {
    let seats = course.seats.ok_or(No::Course)?;
    if course.students.contains(&student) {
        Err(No::Again)
    } else if course.students.len() >= seats {
        Err(No::Seat)
    } else if courses >= MOST_COURSES {
        Err(No::Time)
    } else {
        Ok(SchoolEvent::Enrolled { course: id.to_owned(), student })
    }
}

/// The school's decisions.
#[derive(Debug, Clone)]
struct School(Boundary);

impl School {
    fn new(store: &EventStore) -> Result<Self, BoxError> {
        let stream = StreamId::new("school", "enrolments")?;
        let retry = Retry::attempts(NonZeroU32::new(200).ok_or("not 0")?);
        Ok(Self(Boundary::new(store.clone(), stream).retry(retry)))
    }

    async fn define(&self, course: &str, seats: usize) -> Result<(), BoxError> {
        let defined = SchoolEvent::CourseDefined { course: course.to_owned(), seats };
        self.0.execute(Self::course(course)?, |_| defined.clone()).await?;
        Ok(())
    }

    async fn enrol(&self, course: &str, student: u32) -> Result<(), ExecuteError<No>> {
        let slices = (Self::course(course)?, Self::student(student)?);
        let decide = |(seats, own): (&Course, &Student)| enrol(seats, own.courses, course, student);
        self.0.execute(slices, decide).await?;
        Ok(())
    }

    fn course(course: &str) -> annals_domain::Result<Slice<Course>> {
        Slice::tagged([format!("course:{course}")])
    }

    fn student(student: u32) -> annals_domain::Result<Slice<Student>> {
        Slice::tagged([format!("student:{student}")])
    }
}

/// Plays the story on an empty store, and passes what happens to `say`.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
    let school = School::new(store)?;
    for course in ["sailing", "chess", "latin"] {
        school.define(course, 3).await?;
    }
    say("three courses of three seats".to_owned());
    let rejected = async |course: &str, student| {
        let error = school.enrol(course, student).await.expect_err("it breaks a rule");
        error.rejection().copied()
    };
    assert_eq!(rejected("golf", 1).await, Some(No::Course));
    school.enrol("sailing", 1).await?;
    assert_eq!(rejected("sailing", 1).await, Some(No::Again));
    school.enrol("chess", 1).await?;
    assert_eq!(rejected("latin", 1).await, Some(No::Time));
    school.enrol("sailing", 2).await?;
    school.enrol("sailing", 3).await?;
    assert_eq!(rejected("sailing", 4).await, Some(No::Seat));
    say("student 1 has two courses and no third, sailing has three students and no fourth"
        .to_owned());

    // 32 students run for the 5 seats that are left, each for both courses at once.
    let racers = (100..132).flat_map(|student| ["chess", "latin"].map(|course| (course, student)));
    let tasks = racers.map(|(course, student)| {
        let school = school.clone();
        tokio::spawn(async move { school.enrol(course, student).await })
    });
    let mut seated = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await? {
            Ok(()) => seated += 1,
            Err(ExecuteError::Rejected(No::Seat)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(seated, 5, "each seat is taken once");
    for course in ["sailing", "chess", "latin"] {
        let slice = school.0.read(School::course(course)?).await?;
        assert_eq!(slice.state().students.len(), 3, "{course}");
    }
    say("32 students raced for 5 seats in two courses: each seat is taken once".to_owned());
    Ok(())
}
