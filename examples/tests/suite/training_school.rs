//! The training school in memory, SQLite and PostgreSQL: its story, and its view while the process that keeps it is killed:
//! as often as `ANNALS_KILLS` says (15 times without it; 50 in the full profile).

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals::{BoxError, EventId, EventStore};
use annals_domain::Application;
use annals_examples::store;
use annals_examples::training_school::{self, Counted, TrainingSchool, counted};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_state::StateStore;
use futures_util::FutureExt;
use tempfile::TempDir;

/// How often the view is killed, while so many tricks are added in all.
const TRICKS: u64 = 200;

fn kills() -> u64 {
    let is_full = std::env::var("ANNALS_TESTKIT_PROFILE").is_ok_and(|profile| profile == "full");
    u64::from(crate::common::often("ANNALS_KILLS", if is_full { 50 } else { 15 })).max(1)
}

/// A log and documents, and where they are if another process can open them.
struct Place {
    log: EventStore,
    state: Arc<dyn StateStore>,
    name: Option<String>,
    /// Files go with it.
    _folder: Option<TempDir>,
}

impl Place {
    fn memory() -> Self {
        let (log, state) = (EventStore::new(MemoryAdapter::new()), Arc::new(MemoryState::new()));
        Self { log, state, name: None, _folder: None }
    }

    async fn named(name: String, folder: Option<TempDir>) -> Result<Self, BoxError> {
        let (log, state) = (store::open(&name).await?, store::open_state(&name).await?);
        Ok(Self { log, state, name: Some(name), _folder: folder })
    }

    async fn sqlite() -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("school.db").display().to_string();
        Self::named(file, Some(folder)).await
    }

    /// A database of its own: programs name no schema.
    async fn postgres() -> Result<Option<Self>, BoxError> {
        let Some(url) = tokio::task::spawn_blocking(crate::common::postgres).await? else {
            return Ok(None);
        };
        let name = format!("school_{}", EventId::generate().as_uuid().simple());
        let config: annals_postgres::tokio_postgres::Config = url.parse()?;
        let (admin, connection) = config.connect(annals_postgres::tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        drop(admin);
        connection.await??;
        let (base, _) = url.rsplit_once('/').ok_or("a URL with a database")?;
        Ok(Some(Self::named(format!("{base}/{name}"), None).await?))
    }

    async fn everywhere() -> Result<Vec<Self>, BoxError> {
        let mut places = vec![Self::memory(), Self::sqlite().await?];
        places.extend(Self::postgres().await?);
        Ok(places)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_everywhere() -> Result<(), BoxError> {
    for place in Place::everywhere().await? {
        let mut said = Vec::new();
        let state = Arc::clone(&place.state);
        training_school::story(&place.log, state, &mut |line| said.push(line)).await?;
        assert_eq!(said.len(), 6, "{said:?}");
        place.log.close().await;
    }
    Ok(())
}

/// The program beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test.ancestors().nth(2).expect("a folder").join("examples");
    folder.join("training_school").with_extension(std::env::consts::EXE_EXTENSION)
}

/// Who keeps the view: another process, or a task where no other process can.
enum Keeper {
    Process(Child),
    Task(tokio::task::JoinHandle<Result<(), BoxError>>),
}

impl Keeper {
    fn start(place: &Place) -> Result<Self, BoxError> {
        let Some(name) = &place.name else {
            let (log, state) = (place.log.clone(), Arc::clone(&place.state));
            let keeping = async move { training_school::keep(&log, state).await };
            return Ok(Self::Task(tokio::spawn(keeping.boxed())));
        };
        let mut command = Command::new(program());
        command.args(["--keep-view", name]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self::Process(command.spawn()?))
    }

    /// Kills it, wherever it is.
    fn kill(self) -> Result<(), BoxError> {
        match self {
            Self::Process(mut process) => {
                assert_eq!(process.try_wait()?, None, "it ended by itself");
                process.kill()?;
                process.wait()?;
            }
            Self::Task(task) => {
                assert!(!task.is_finished(), "it ended by itself");
                task.abort();
            }
        }
        Ok(())
    }
}

/// S3.4: each event is counted once, wherever the view was killed.
async fn is_exact_after_kills(place: Place) -> Result<(), BoxError> {
    let application = Application::new("TrainingSchool", place.log.clone());
    let school = TrainingSchool::new(&application);
    school.register("Fido").await?;
    for trick in ["roll over", "play dead", "sit and stay", "jump hoop"] {
        school.add_trick("Fido", trick).await?;
    }
    let kills = kills();
    let mut added = 0;
    for nth in 0..kills {
        let keeper = Keeper::start(&place)?;
        // Later and later: when it starts, and when it is at work.
        let pause = Duration::from_millis(if place.name.is_some() { nth * 40 % 400 } else { nth });
        let share = TRICKS * (nth + 1) / kills;
        while added < share {
            school.add_trick("Fido", &format!("trick {added}")).await?;
            added += 1;
            tokio::time::sleep(pause / 10).await;
        }
        keeper.kill()?;
    }
    training_school::counting(&place.log, Arc::clone(&place.state))?.settle().await?;
    let expected = Counted { dogs: 1, tricks: TRICKS + 4 };
    assert_eq!(counted(&place.state).await?, expected);
    place.log.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_view_is_exact_after_kills_in_memory() -> Result<(), BoxError> {
    is_exact_after_kills(Place::memory()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_view_is_exact_after_kills_in_sqlite() -> Result<(), BoxError> {
    is_exact_after_kills(Place::sqlite().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_view_is_exact_after_kills_in_postgres() -> Result<(), BoxError> {
    let Some(place) = Place::postgres().await? else { return Ok(()) };
    is_exact_after_kills(place).await
}
