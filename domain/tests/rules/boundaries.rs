//! Rules B: decisions over queries. And E2 in queries and conditions.

use std::num::NonZeroU32;

use annals::{
    Error as StoreError, EventId, EventStore, NewEvent, ReadOptions, StoredEvent, StreamId, Tags,
    WriteCondition,
};
use annals_domain::{Boundary, Error, Event, ExecuteError, Retry, Slice, State};
use annals_memory::MemoryAdapter;
use annals_testkit::{Fault, Faulty, Point, Recording, Request};

#[derive(Event, Debug, Clone, PartialEq)]
enum SchoolEvent {
    #[event(name = "course-defined", alias = "course-created")]
    CourseDefined {
        #[event(tag = "course")]
        course: String,
        seats: usize,
    },
    #[event(name = "student-subscribed")]
    Subscribed {
        #[event(tag = "course")]
        course: String,
        #[event(tag = "student")]
        student: u32,
    },
}

#[derive(Debug, Clone, Default)]
struct Course {
    seats: Option<usize>,
    students: Vec<u32>,
}

impl State for Course {
    type Event = SchoolEvent;

    fn apply(&mut self, event: SchoolEvent) {
        match event {
            SchoolEvent::CourseDefined { seats, .. } => self.seats = Some(seats),
            SchoolEvent::Subscribed { student, .. } => self.students.push(student),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Student(Vec<String>);

impl State for Student {
    type Event = SchoolEvent;

    fn apply(&mut self, event: SchoolEvent) {
        if let SchoolEvent::Subscribed { course, .. } = event {
            self.0.push(course);
        }
    }
}

const MOST_COURSES: usize = 2;

#[derive(Debug, PartialEq)]
enum No {
    Course,
    Seat,
    Time,
    Again,
}

fn subscribe(
    (course, courses): (&Course, &Student),
    id: &str,
    student: u32,
) -> Result<SchoolEvent, No> {
    let seats = course.seats.ok_or(No::Course)?;
    if course.students.contains(&student) {
        return Err(No::Again);
    }
    if course.students.len() >= seats {
        return Err(No::Seat);
    }
    if courses.0.len() >= MOST_COURSES {
        return Err(No::Time);
    }
    Ok(SchoolEvent::Subscribed { course: id.to_owned(), student })
}

fn slices(course: &str, student: u32) -> (Slice<Course>, Slice<Student>) {
    let course = Slice::tagged([format!("course:{course}")]).expect("a tag");
    (course, Slice::tagged([format!("student:{student}")]).expect("a tag"))
}

const STREAM: StreamId = StreamId::from_static("school", "all");

fn boundary(store: &EventStore) -> Boundary {
    Boundary::new(store.clone(), STREAM)
}

async fn define(store: &EventStore, course: &str, seats: usize) {
    let defined = SchoolEvent::CourseDefined { course: course.to_owned(), seats };
    boundary(store).execute((), |()| defined.clone()).await.expect("a course");
}

async fn enrol(
    boundary: &Boundary,
    course: &str,
    student: u32,
) -> Result<Vec<StoredEvent>, ExecuteError<No>> {
    boundary.execute(slices(course, student), |both| subscribe(both, course, student)).await
}

async fn log(store: &EventStore) -> Vec<StoredEvent> {
    store.log().read(ReadOptions::default()).into_vec().await.expect("a read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b1_the_invariant_over_the_slices_holds_whatever_racers_do() {
    let store = EventStore::new(MemoryAdapter::new());
    for course in ["a", "b", "c"] {
        define(&store, course, 5).await;
    }
    let many = Retry::attempts(NonZeroU32::new(1_000).expect("not 0"));
    let tasks = (0..32).map(|student| {
        let boundary = boundary(&store).retry(many);
        tokio::spawn(async move {
            for course in ["a", "b", "c"] {
                match enrol(&boundary, course, student % 12).await {
                    Ok(stored) => assert_eq!(stored.len(), 1),
                    Err(error) => assert!(error.rejection().is_some(), "{error:?}"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    let mut taken = 0;
    for course in ["a", "b", "c"] {
        let read = boundary(&store).read(slices(course, 0)).await.expect("a read");
        let mut students = read.0.state().students.clone();
        students.sort_unstable();
        students.dedup();
        assert_eq!(students.len(), read.0.state().students.len(), "each student once");
        assert!(students.len() <= 5, "{students:?}");
        taken += students.len();
    }
    for student in 0..12 {
        let read = boundary(&store).read(slices("a", student)).await.expect("a read");
        assert!(read.1.into_state().0.len() <= MOST_COURSES);
    }
    assert_eq!(taken, 15, "whoever could have a seat has one");
}

#[tokio::test]
async fn b2_what_matches_between_look_and_append_makes_it_decide_again() {
    for (course, student, decisions) in [("a", 2, 2), ("b", 1, 2), ("b", 2, 1)] {
        let adapter = Faulty::new(Recording::new(MemoryAdapter::new()));
        let store = EventStore::new(adapter.clone());
        define(&store, "a", 5).await;
        let inner = EventStore::new(adapter.inner().clone());
        let other = SchoolEvent::Subscribed { course: course.to_owned(), student };
        adapter.inject(
            Point::BeforeAppend,
            Fault::delay(async move {
                boundary(&inner).execute((), |()| other.clone()).await.expect("another");
            }),
        );
        drop(adapter.inner().take());
        let mut made = 0;
        let outcome = boundary(&store)
            .execute(slices("a", 1), |both| {
                made += 1;
                subscribe(both, "a", 1)
            })
            .await;
        outcome.expect("a seat");
        assert_eq!(made, decisions, "{course} {student}");
        let calls = adapter.inner().take();
        let reads = calls.iter().filter(|call| matches!(call.request, Request::Read(..)));
        let read: Vec<_> = reads.map(|call| call.events.len()).collect();
        assert_eq!(read, [1; 2][..decisions], "a retry reads only what is new");
    }
}

#[tokio::test]
async fn b3_each_slice_sees_exactly_the_events_of_its_own_item() {
    let store = EventStore::new(MemoryAdapter::new());
    define(&store, "a", 5).await;
    define(&store, "b", 6).await;
    for (course, student) in [("a", 1), ("b", 1), ("a", 2)] {
        enrol(&boundary(&store), course, student).await.expect("a seat");
    }
    let (course, student) = boundary(&store).read(slices("a", 1)).await.expect("a read");
    assert_eq!((course.state().seats, &course.state().students), (Some(5), &vec![1, 2]));
    assert_eq!(student.state().0, ["a", "b"]);
    let elsewhere = Slice::<Student>::all().within(annals::CategoryName::from_static("other"));
    assert!(boundary(&store).read(elsewhere).await.expect("a read").state().0.is_empty());
    let all = boundary(&store).read(Slice::<Student>::all()).await.expect("a read");
    assert_eq!(all.state().0, ["a", "b", "a"]);
}

#[tokio::test]
async fn b4_commands_over_boundaries_keep_the_rules_of_commands() {
    let adapter = Faulty::new(MemoryAdapter::new());
    let store = EventStore::new(adapter.clone());
    define(&store, "a", 5).await;
    // C3: at most so many decisions.
    for _ in 0..2 {
        let inner = EventStore::new(adapter.inner().clone());
        let other = async move { define(&inner, "a", 5).await };
        adapter.inject(Point::BeforeAppend, Fault::delay(other));
    }
    let twice = boundary(&store).retry(Retry::attempts(NonZeroU32::new(2).expect("not 0")));
    let error = enrol(&twice, "a", 1).await.expect_err("a conflict");
    assert!(matches!(error.failure(), Some(Error::Conflict { attempts: 2, .. })), "{error:?}");
    // C4 and C5: a rejection and no events append nothing.
    let before = log(&store).await.len();
    assert_eq!(enrol(&twice, "z", 1).await.expect_err("no course").rejection(), Some(&No::Course));
    let nothing = twice.execute(slices("a", 1), |_| None::<SchoolEvent>).await.expect("nothing");
    assert_eq!((nothing, log(&store).await.len()), (vec![], before));
    // C6: once, also if the answer was lost or the repeat would be rejected.
    let once = boundary(&store).command(EventId::generate()).expect("ids");
    adapter.inject(Point::AfterAppend, Fault::error(StoreError::outcome_unknown("cut")));
    let first = enrol(&once, "a", 1).await.expect("a seat");
    assert_eq!(enrol(&once, "a", 1).await.expect("a repeat"), first);
    assert_eq!(log(&store).await.len(), before + 1);
    // C7: not for another stream.
    let other = Boundary::new(store.clone(), StreamId::from_static("school", "other"));
    let id = first[0].id();
    let other = other.command(id).expect("ids");
    let defined = SchoolEvent::CourseDefined { course: "q".to_owned(), seats: 1 };
    other.execute((), |()| defined.clone()).await.expect("an event");
    let elsewhere = boundary(&store).command(id).expect("ids");
    let error = elsewhere.execute((), |()| defined.clone()).await.expect_err("another stream");
    assert!(error.failure().is_some_and(Error::is_duplicate));
}

#[tokio::test]
async fn e2_queries_and_conditions_ask_for_aliases_too() {
    let adapter = Faulty::new(MemoryAdapter::new());
    let store = EventStore::new(adapter.clone());
    let old = || {
        NewEvent::json("course-created", &serde_json::json!({ "course": "a", "seats": 1 }))
            .expect("an event")
            .with_tags(Tags::parse(["course:a"]).expect("a tag"))
    };
    store.stream(STREAM).append([old()], WriteCondition::Always).await.expect("an append");
    let read = boundary(&store).read(slices("a", 1)).await.expect("a read");
    assert_eq!(read.0.state().seats, Some(1));
    // An old program writes between look and append.
    let inner = EventStore::new(adapter.inner().clone());
    adapter.inject(
        Point::BeforeAppend,
        Fault::delay(async move {
            let stream = inner.stream(STREAM);
            stream.append([old()], WriteCondition::Always).await.expect("an append");
        }),
    );
    let none = boundary(&store).retry(Retry::NONE);
    let error = enrol(&none, "a", 1).await.expect_err("a conflict");
    assert!(error.failure().is_some_and(Error::is_conflict));
}
