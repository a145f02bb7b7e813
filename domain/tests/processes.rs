//! Decisions of several processes on PostgreSQL, and processes that are killed between an append and its answer.

use std::future::pending;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use annals::{BoxError, EventId, EventStore, ReadOptions, StorageAdapter, StreamId};
use annals_domain::{Aggregate, Boundary, Event, Repository, Retry, Slice, State};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_servers::PostgresServer;
use annals_sqlite::SqliteAdapter;
use annals_testkit::{Fault, Faulty, Point};

/// What a child works on: a URL and a schema, or a file.
const PLACE: &str = "ANNALS_TEST_PLACE";

#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "subscribed")]
struct Subscribed {
    #[event(tag = "course")]
    course: String,
    #[event(tag = "student")]
    student: u32,
}

#[derive(Debug, Clone, Default)]
struct Subscriptions(usize);

impl State for Subscriptions {
    type Event = Subscribed;

    fn apply(&mut self, _: Subscribed) {
        self.0 += 1;
    }
}

#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "deposited")]
struct Deposited {
    amount: u64,
}

#[derive(Debug, Clone, Default)]
struct Account(u64);

impl Aggregate for Account {
    const CATEGORY: &'static str = "accounts";
    type Id = String;
    type Event = Deposited;

    fn apply(&mut self, event: Deposited) {
        self.0 += event.amount;
    }
}

#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "counted")]
struct Counted {
    before: u64,
}

/// How many events there are.
#[derive(Debug, Clone, Default)]
struct Tally(u64);

impl Aggregate for Tally {
    const CATEGORY: &'static str = "tallies";
    type Id = String;
    type Event = Counted;

    fn apply(&mut self, _: Counted) {
        self.0 += 1;
    }
}

const COURSES: u32 = 4;
const SEATS: usize = 7;
const MOST_COURSES: usize = 2;
const STUDENTS: u32 = 16;

/// Where the children work.
#[derive(Clone)]
enum Place {
    File(String),
    Server { url: String, schema: String },
}

impl Place {
    fn text(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Server { url, schema } => format!("{url}\n{schema}"),
        }
    }

    fn of_child() -> Self {
        let text = std::env::var(PLACE).expect("a child is started by its parent");
        match text.split_once('\n') {
            None => Self::File(text),
            Some((url, schema)) => Self::Server { url: url.to_owned(), schema: schema.to_owned() },
        }
    }

    /// A schema of its own on the server of the tests; `None` if there is no PostgreSQL here, which is said aloud.
    async fn server() -> Option<Self> {
        let url = tokio::task::spawn_blocking(PostgresServer::shared_or_not_run);
        let url = url.await.expect("a task")?;
        let schema = format!("t{}", EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(&url).expect("a URL").with_schema(&schema);
        options.migrate().await.expect("tables");
        Some(Self::Server { url, schema })
    }

    async fn sqlite(&self) -> Result<SqliteAdapter, BoxError> {
        let Self::File(path) = self else { return Err("no file".into()) };
        Ok(SqliteAdapter::open(path).await?)
    }

    async fn postgres(&self) -> Result<PostgresAdapter, BoxError> {
        let Self::Server { url, schema } = self else { return Err("no server".into()) };
        let patient = std::time::Duration::from_secs(60);
        let options = PostgresOptions::new(url)?.with_schema(schema).with_pool_timeout(patient);
        Ok(options.connect().await?)
    }

    async fn store(&self) -> EventStore {
        match self {
            Self::File(_) => EventStore::new(self.sqlite().await.expect("a store")),
            Self::Server { .. } => EventStore::new(self.postgres().await.expect("a store")),
        }
    }
}

/// Runs the ignored test `name` of this binary in a process of its own.
fn child(name: &str, place: &Place) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(PLACE, place.text())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, out)
}

/// Reads on until the child says `word` at the end of a line; libtest may have begun the line.
fn heard(out: &mut BufReader<ChildStdout>, word: &str) {
    let mut line = String::new();
    while !line.trim_end().ends_with(word) {
        line.clear();
        let read = out.read_line(&mut line).expect("a line");
        assert!(read > 0, "the child ended before it said {word}");
    }
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("a parent");
}

/// In a child: waits until the other one has come as far.
async fn begin_together() {
    say("ready");
    let begin = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    begin.await.expect("a task").expect("a word of the parent");
}

/// Runs the ignored test `name` of this binary in two processes at once, until both have passed.
fn in_two_processes(name: &str, place: &Place) {
    let mut children = [child(name, place), child(name, place)];
    for (_, out) in &mut children {
        heard(out, "ready");
    }
    for (child, _) in &mut children {
        child.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("a child");
    }
    for (mut child, out) in children {
        drop(child.stdin.take());
        let said: Vec<_> = out.lines().map_while(Result::ok).collect();
        assert!(child.wait().expect("an end").success(), "{said:?}");
    }
}

/// Each of 32 tasks tries to put a student on each course.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process"]
async fn child_subscribes() {
    let store = Place::of_child().store().await;
    begin_together().await;
    let tasks = (0..32_u32).map(|task| {
        let boundary = Boundary::new(store.clone(), StreamId::from_static("school", "enrolment"))
            .retry(Retry::attempts(std::num::NonZeroU32::new(1_000).expect("not 0")));
        tokio::spawn(async move {
            let student = task % STUDENTS;
            for course in 0..COURSES {
                let course = format!("c{}", (course + task) % COURSES);
                let seats = Slice::<Subscriptions>::tagged([format!("course:{course}")]);
                let courses = Slice::<Subscriptions>::tagged([format!("student:{student}")]);
                let slices = (seats.expect("a tag"), courses.expect("a tag"));
                let subscribed = boundary.execute(slices, |(seats, courses)| {
                    if seats.0 >= SEATS || courses.0 >= MOST_COURSES {
                        return Err("no");
                    }
                    Ok(Subscribed { course: course.clone(), student })
                });
                match subscribed.await {
                    Ok(_) | Err(annals_domain::ExecuteError::Rejected(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_what_64_tasks_of_two_processes_decide_holds() {
    let Some(place) = Place::server().await else { return };
    in_two_processes("child_subscribes", &place);
    let store = place.store().await;
    let events = store.log().read(ReadOptions::default()).into_vec().await.expect("a read");
    let tagged = |tag: String| {
        events.iter().filter(|event| event.tags().iter().any(|one| one.as_str() == tag)).count()
    };
    for course in 0..COURSES {
        assert!(tagged(format!("course:c{course}")) <= SEATS, "course {course} is overbooked");
    }
    for student in 0..STUDENTS {
        assert!(tagged(format!("student:{student}")) <= MOST_COURSES, "student {student}");
    }
    // Each student asks for each course until they have enough, and there are too few seats: all are taken.
    assert_eq!(events.len(), COURSES as usize * SEATS);
    store.close().await;
}

const TASKS: u64 = 4;
const COUNTS: u64 = 8;

/// Each of 8 tasks appends so many times how many events it saw: half of them with a cache and turns, half without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process"]
async fn child_counts() {
    let store = Place::of_child().store().await;
    let many = Retry::attempts(std::num::NonZeroU32::new(10_000).expect("not 0"));
    let plain = Repository::<Tally>::new(store.clone()).retry(many);
    let cached = plain.clone().cached(std::num::NonZeroUsize::MIN);
    begin_together().await;
    let tasks = (0..TASKS).flat_map(|_| [plain.clone().unqueued(), cached.clone()]);
    let tasks = tasks.map(|tallies| {
        tokio::spawn(async move {
            for _ in 0..COUNTS {
                let count = |tally: &Tally| Counted { before: tally.0 };
                tallies.execute_or_create(&"all".to_owned(), count).await.expect("a count");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    store.close().await;
}

/// The tasks of two processes count to where they came together.
async fn assert_counted(place: &Place) {
    // Both open the same tables.
    place.store().await.close().await;
    in_two_processes("child_counts", place);
    let store = place.store().await;
    let events = store.log().read(ReadOptions::default()).into_vec().await.expect("a read");
    let before: Vec<u64> = events
        .iter()
        .map(|event| annals_domain::decode(event).expect("it reads"))
        .map(|event: Option<Counted>| event.expect("a count").before)
        .collect();
    assert_eq!(before, (0..2 * 2 * TASKS * COUNTS).collect::<Vec<_>>());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_each_decision_of_two_processes_sees_what_it_follows_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_counted(&Place::File(folder.path().join("tally.db").display().to_string())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_each_decision_of_two_processes_sees_what_it_follows_on_postgresql() {
    let Some(place) = Place::server().await else { return };
    assert_counted(&place).await;
}

fn command() -> EventId {
    EventId::from_uuid(uuid::Uuid::from_u128(0x5eed))
}

/// A command whose call waits at `point` for ever.
async fn stuck<A: StorageAdapter + Clone>(adapter: A, point: Point) {
    let faulty = Faulty::new(adapter);
    let here = async {
        say("stuck");
        pending::<()>().await;
    };
    faulty.inject(point, Fault::delay(here));
    let accounts = Repository::<Account>::new(EventStore::new(faulty));
    let accounts = accounts.command(command()).expect("ids are known for ever");
    let done = accounts.execute(&"ann".to_owned(), |_| Deposited { amount: 5 }).await;
    panic!("it went on: {:?}", done.map(|done| done.attempts));
}

async fn stuck_at(point: Point) {
    match Place::of_child() {
        place @ Place::File(_) => stuck(place.sqlite().await.expect("a store"), point).await,
        place @ Place::Server { .. } => {
            stuck(place.postgres().await.expect("a store"), point).await;
        }
    }
}

#[tokio::test]
#[ignore = "run as a child process"]
async fn child_stuck_after_its_append() {
    stuck_at(Point::AfterAppend).await;
}

#[tokio::test]
#[ignore = "run as a child process"]
async fn child_stuck_before_its_append() {
    stuck_at(Point::BeforeAppend).await;
}

/// A command of a process that was killed is repeated by this one: it is carried out once.
async fn assert_once(place: &Place) {
    for (nth, name, was_made) in
        [(0, "child_stuck_before_its_append", false), (1, "child_stuck_after_its_append", true)]
    {
        let place = match place {
            Place::File(folder) => Place::File(format!("{folder}/{nth}.db")),
            Place::Server { .. } => Place::server().await.expect("the server is there"),
        };
        let store = place.store().await;
        let accounts = Repository::<Account>::new(store.clone());
        let id = "ann".to_owned();
        accounts.create(&id, || Deposited { amount: 1 }).await.expect("an account");
        let (mut killed, mut out) = child(name, &place);
        heard(&mut out, "stuck");
        // SIGKILL on Unix: nothing of the child runs any more.
        killed.kill().expect("a child");
        assert!(!killed.wait().expect("an end").success());

        let accounts = accounts.command(command()).expect("ids are known for ever");
        for repeat in 0..3 {
            let done = accounts.execute(&id, |_| Deposited { amount: 5 }).await.expect("done");
            assert_eq!(done.repeated, was_made || repeat > 0, "{name}, repeat {repeat}");
            assert_eq!(done.events.len(), 1);
            assert_eq!(accounts.get(&id).await.expect("an account").0, 6, "{name}");
        }
        let events = store.log().read(ReadOptions::default()).into_vec().await.expect("a read");
        assert_eq!(events.len(), 2, "{name}");
        store.close().await;
    }
}

#[tokio::test]
async fn c6_a_command_of_a_killed_process_is_carried_out_once_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_once(&Place::File(folder.path().display().to_string())).await;
}

#[tokio::test]
async fn c6_a_command_of_a_killed_process_is_carried_out_once_on_postgresql() {
    let Some(place) = Place::server().await else { return };
    assert_once(&place).await;
}
