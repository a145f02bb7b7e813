//! What the stories' events promise to later releases, and the laws that their aggregates keep.

use annals::EventStore;
use annals_examples::bank::{Account, AccountEvent};
use annals_examples::course_enrolment::SchoolEvent;
use annals_examples::training_school::{Dog, DogEvent};
use annals_examples::universe::{World, WorldEvent};
use annals_memory::MemoryAdapter;
use annals_testkit::domain::{BrokenLaw, Laws, Released};
use annals_testkit::golden;
use uuid::Uuid;

fn worlds() -> [WorldEvent; 2] {
    [
        WorldEvent::Created { name: "Earth".to_owned() },
        WorldEvent::SomethingHappened { what: "dinosaurs".to_owned() },
    ]
}

fn accounts() -> [AccountEvent; 3] {
    [
        AccountEvent::Opened { owner: "Ann Lee".to_owned() },
        AccountEvent::Deposited { amount: 1_000 },
        AccountEvent::Withdrawn { amount: 300 },
    ]
}

fn dogs() -> [DogEvent; 2] {
    [
        DogEvent::Registered { name: "Fido".to_owned() },
        DogEvent::TrickAdded { trick: "roll over".to_owned() },
    ]
}

#[test]
fn e7_released_events_stay_readable() {
    let courses = [
        SchoolEvent::CourseDefined { course: "sailing".to_owned(), seats: 12 },
        SchoolEvent::Enrolled { course: "sailing".to_owned(), student: 7 },
    ];
    let released = Released::new()
        .aggregate::<World>(worlds())
        .aggregate::<Account>(accounts())
        .aggregate::<Dog>(dogs())
        .events(annals::CategoryName::from_static("school"), courses);
    golden!("tests/golden/stories.json", released);
}

#[tokio::test]
async fn aggregates_keep_the_laws() -> Result<(), BrokenLaw> {
    let store = EventStore::new(MemoryAdapter::new());
    Laws::<World>::new(Uuid::nil(), worlds()).with_snapshots().check(&store).await?;
    Laws::<Account>::new("ann".to_owned(), accounts()).check(&store).await?;
    Laws::<Dog>::new(Uuid::nil(), dogs()).check(&store).await
}
