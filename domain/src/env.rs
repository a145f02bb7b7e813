//! Configuration from the environment.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where an application's configuration comes from. `NAME_KEY` comes before `KEY`; for each of them first what was given
/// in the program, then the environment of the process, then the defaults.
///
/// ```
/// use annals_domain::Env;
/// let env = Env::new("TrainingSchool").with("PERSISTENCE", "memory").with("TRAININGSCHOOL_PERSISTENCE", "sqlite");
/// assert_eq!(env.get("PERSISTENCE").as_deref(), Some("sqlite"));
/// ```
#[derive(Clone)]
pub struct Env {
    prefix: String,
    given: HashMap<String, String>,
    process: Option<Lookup>,
    defaults: HashMap<String, String>,
}

/// Why a value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// No key has a value.
    #[error("none of {} is set", .0.join(", "))]
    Missing(Vec<String>),
    /// A value is not what is expected.
    #[error("{key} is {value:?}, expected {expected}")]
    Invalid {
        /// The key that has the value.
        key: String,
        /// The value.
        value: String,
        /// What is expected, to follow the word "expected".
        expected: &'static str,
    },
}

impl Env {
    /// An environment of the application of this name, without values: that of the process is not looked at.
    #[must_use]
    pub fn new(application: &str) -> Self {
        let prefix = application.to_uppercase();
        Self { prefix, given: HashMap::new(), process: None, defaults: HashMap::new() }
    }

    /// The environment of the process.
    #[must_use]
    pub fn process(application: &str) -> Self {
        Self::from_lookup(application, |key| std::env::var(key).ok())
    }

    /// What `lookup` finds takes the place of the environment of the process.
    #[must_use]
    pub fn from_lookup(
        application: &str,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { process: Some(Arc::new(lookup)), ..Self::new(application) }
    }

    /// Sets a value, before the process's.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.insert(key.into(), value.into());
        self
    }

    /// Sets the value of last resort.
    #[must_use]
    pub fn with_default(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.defaults.insert(key.into(), value.into());
        self
    }

    /// The keys that are tried for `key`, in order.
    #[must_use]
    pub fn keys(&self, key: &str) -> [String; 2] {
        [format!("{}_{key}", self.prefix), key.to_owned()]
    }

    fn find(&self, key: &str) -> Option<(String, String)> {
        self.keys(key).into_iter().find_map(|key| {
            let given = self.given.get(&key).cloned();
            let found = given
                .or_else(|| self.process.as_ref().and_then(|process| process(&key)))
                .or_else(|| self.defaults.get(&key).cloned());
            found.map(|value| (key, value))
        })
    }

    /// The value of `key`. It can be handed to the `from_lookup` of an adapter: `|key| env.get(key)`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        self.find(key).map(|(_, value)| value)
    }

    /// The value of `key`, which must be there.
    ///
    /// # Errors
    /// [`EnvError::Missing`] names every key that was tried.
    pub fn require(&self, key: &str) -> Result<String, EnvError> {
        self.get(key).ok_or_else(|| EnvError::Missing(self.keys(key).into()))
    }

    /// The value of `key` as a `T`; `None` if it is not set. `expected` says what it should be, as in "a number".
    ///
    /// # Errors
    /// [`EnvError::Invalid`] shows key and value, so do not parse secrets.
    pub fn parse<T: FromStr>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<Option<T>, EnvError> {
        let Some((key, value)) = self.find(key) else { return Ok(None) };
        let parsed = value.parse();
        parsed.map(Some).map_err(|_| EnvError::Invalid { key, value, expected })
    }
}

impl fmt::Debug for Env {
    /// Without any value: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<_> = self.given.keys().chain(self.defaults.keys()).collect();
        keys.sort();
        f.debug_struct("Env")
            .field("prefix", &self.prefix)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}
