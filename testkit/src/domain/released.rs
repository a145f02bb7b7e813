//! The types of today, compared with the payloads of all releases.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use annals::{CategoryName, Encoding, NewEvent, Source, StoredEvent, StreamId, StreamName};
use annals_domain::{Aggregate, Event, Kind, Registry, decode, new_event};
use serde_json::Value;

use super::breaking::{Breaking, named};
use super::file::{GoldenEvent, GoldenFile};

/// The variable that lets [`golden!`](crate::golden) add what a file lacks; any value but an empty one and `0`.
pub const UPDATE: &str = "ANNALS_UPDATE_GOLDEN";

type Read = fn(&StoredEvent) -> annals_domain::Result<Option<NewEvent>>;

/// The kinds of events of a program, with a sample of each.
#[derive(Debug, Clone, Default)]
#[must_use = "compare it with a golden file"]
pub struct Released {
    registry: Registry,
    places: Vec<Place>,
    samples: Vec<GoldenEvent>,
}

/// Events of one type, and where they are.
#[derive(Debug, Clone)]
struct Place {
    source: String,
    stream: StreamId,
    kinds: &'static [Kind],
    read: Read,
}

/// How the types of today relate to a golden file.
#[derive(Debug, Clone, Default)]
#[must_use = "it says whether something is broken"]
pub struct Compared {
    /// What breaks released events.
    pub breaking: Vec<Breaking>,
    /// The file with what it lacks, if it lacks something.
    pub completed: Option<GoldenFile>,
}

impl Released {
    /// Without kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the events of an aggregate: a sample of each kind, better one of each form that it can have.
    ///
    /// # Panics
    /// If a sample does not serialize, or another type of the category has one of the names.
    #[track_caller]
    pub fn aggregate<A: Aggregate>(self, samples: impl IntoIterator<Item = A::Event>) -> Self {
        self.events::<A::Event>(A::category(), samples)
    }

    /// Adds events that are anywhere in `source`, in the same way.
    ///
    /// # Panics
    /// As [`aggregate`](Self::aggregate).
    #[track_caller]
    pub fn events<E: Event>(
        mut self,
        source: impl Into<Source>,
        samples: impl IntoIterator<Item = E>,
    ) -> Self {
        let source = source.into();
        let text = source.to_string();
        for sample in samples {
            let kind = *sample.kind();
            let written = new_event(sample).and_then(|(_, event)| {
                let value = kind.to_value(&event.payload).map_err(annals::Error::invalid)?;
                Ok(GoldenEvent::of(&text, kind.version(), &event, value))
            });
            match written {
                Ok(golden) => self.samples.push(golden),
                Err(error) => panic!("a sample of {} cannot be written: {error}", kind.name()),
            }
        }
        self.registry = self.registry.events::<E>(source.clone());
        let name = StreamName::from_static("golden");
        let stream = match source {
            Source::Log => StreamId { category: CategoryName::from_static("golden"), name },
            Source::Category(category) => StreamId { category, name },
            Source::Stream(stream) => stream,
        };
        let read: Read = |stored| {
            let event = decode::<E>(stored)?.map(new_event).transpose()?;
            Ok(event.map(|(_, new)| new))
        };
        self.places.push(Place { source: text, stream, kinds: E::KINDS, read });
        self
    }

    /// All kinds, as readers by raw name need them: for [`Upcast`](annals_domain::Upcast).
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What breaks the payloads of `file`, and what it lacks.
    pub fn compare(&self, file: &GoldenFile) -> Compared {
        let mut breaking = Vec::new();
        let mut completed = file.clone();
        for event in &mut completed.events {
            self.judge(event, &mut breaking);
        }
        for sample in &self.samples {
            if !completed.events.iter().any(|event| event.is_like(sample)) {
                completed.events.push(sample.clone());
            }
        }
        for place in &self.places {
            for kind in place.kinds {
                for version in 1..=kind.version() {
                    let shows = |event: &GoldenEvent| {
                        event.source == place.source
                            && event.version == version
                            && kind.names().any(|name| name == event.name)
                    };
                    if !completed.events.iter().any(shows) {
                        let (name, source) = (kind.name(), &place.source);
                        let event = format!("{name} version {version} in {source}");
                        breaking.push(Breaking::Unproven { event });
                    }
                }
            }
        }
        Compared { breaking, completed: (completed != *file).then_some(completed) }
    }

    /// Reads a released event, and adds what it reads as at the version of today if nothing says so yet.
    fn judge(&self, golden: &mut GoldenEvent, breaking: &mut Vec<Breaking>) {
        let event = named(golden);
        let knows = |place: &&Place| Kind::find(place.kinds, &golden.name).is_some();
        let mut here = self.places.iter().filter(|place| place.source == golden.source);
        let Some(place) = here.find(knows) else {
            breaking.push(match self.places.iter().find(knows) {
                Some(place) => Breaking::Moved { event, to: place.source.clone() },
                None => Breaking::Unknown { event },
            });
            return;
        };
        let Some(kind) = Kind::find(place.kinds, &golden.name) else { return };
        if golden.version > kind.version() {
            breaking.push(Breaking::VersionLowered { event, to: kind.version() });
            return;
        }
        let read = || {
            let stored = golden.stored(place.stream.clone())?;
            let Some(new) = (place.read)(&stored)? else {
                return Err("it reads as nothing".into());
            };
            let Some(kind) = Kind::find(place.kinds, new.name.as_str()) else {
                return Err("it reads as an event of another type".into());
            };
            let value = kind.to_value(&new.payload)?;
            Ok::<_, annals::BoxError>((new, value))
        };
        let (new, value) = match catch_unwind(AssertUnwindSafe(read)) {
            Err(_) => return breaking.push(Breaking::Panics { event }),
            Ok(Err(error)) => {
                let reason = root(error.as_ref());
                return breaking.push(Breaking::Unreadable { event, reason });
            }
            Ok(Ok(read)) => read,
        };
        if golden.version == kind.version() {
            let json = Encoding::JSON;
            let was = golden.encoding.as_deref().unwrap_or(json.as_str());
            if new.payload.encoding().as_str() != was {
                let to = new.payload.encoding().to_string();
                breaking.push(Breaking::Format { event: event.clone(), to });
            }
            differences(&event, "payload", &golden.payload, Some(&value), breaking);
        } else if let Some(released) = golden.reads_as.get(&kind.version()) {
            differences(&event, "payload", released, Some(&value), breaking);
        } else {
            golden.reads_as.insert(kind.version(), value);
        }
        let tags: Vec<_> = new.tags.iter().map(ToString::to_string).collect();
        for tag in golden.tags.iter().filter(|tag| !tags.contains(tag)) {
            breaking.push(Breaking::TagLost { event: event.clone(), tag: tag.clone() });
        }
    }

    /// What [`golden!`](crate::golden) does.
    #[doc(hidden)]
    #[track_caller]
    pub fn check(&self, path: &str) {
        let update = std::env::var(UPDATE).is_ok_and(|value| !value.is_empty() && value != "0");
        if let Err(message) = self.checked(Path::new(path), update) {
            panic!("{message}");
        }
    }

    /// Compares with the file, and with `update` adds what it lacks, unless something is broken.
    ///
    /// # Errors
    /// What is broken or lacks, as text for the author.
    pub fn checked(&self, path: &Path, update: bool) -> Result<(), String> {
        let shown = path.display();
        let file = GoldenFile::read(path).map_err(|error| format!("{shown}: {error}"))?;
        let Compared { breaking, completed } = self.compare(&file);
        if !breaking.is_empty() {
            let mut message = format!("{shown} holds events that this change breaks:");
            for one in breaking {
                let _ = write!(message, "\n- {one}");
            }
            return Err(message);
        }
        match completed {
            None => Ok(()),
            Some(file) if update => file.write(path).map_err(|error| format!("{shown}: {error}")),
            Some(_) => Err(format!(
                "{shown} lacks what this program writes: run the test with {UPDATE}=1, and commit the file"
            )),
        }
    }
}

/// What an error says of its deepest cause.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Adds what of `was` is lost or another in `is`. More than was is no difference, and neither is nothing for `null`.
fn differences(
    event: &str,
    path: &str,
    was: &Value,
    is: Option<&Value>,
    breaking: &mut Vec<Breaking>,
) {
    match (was, is) {
        (Value::Object(was), Some(Value::Object(is))) => {
            for (key, value) in was {
                differences(event, &format!("{path}.{key}"), value, is.get(key), breaking);
            }
        }
        (Value::Array(was), Some(Value::Array(is))) if was.len() == is.len() => {
            for (nth, (was, is)) in was.iter().zip(is).enumerate() {
                differences(event, &format!("{path}[{nth}]"), was, Some(is), breaking);
            }
        }
        (Value::Null, None) => {}
        (was, Some(is)) if was == is => {}
        (was, is) => breaking.push(Breaking::Changed {
            event: event.to_owned(),
            path: path.to_owned(),
            was: was.to_string(),
            is: is.map(ToString::to_string),
        }),
    }
}
