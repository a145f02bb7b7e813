//! Options from a lookup of names, such as the environment of a process behind the prefix of an application.

use std::str::FromStr;
use std::time::Duration;

use annals::{Error, Result};

use crate::options::CommonOptions;

/// A lookup whose names begin with a prefix. Names that are not set, or empty, leave the default.
#[derive(Debug, Clone, Copy)]
pub struct Named<L> {
    prefix: &'static str,
    lookup: L,
}

impl<L: Fn(&str) -> Option<String>> Named<L> {
    /// `prefix` and an underscore come before each name.
    pub const fn new(prefix: &'static str, lookup: L) -> Self {
        Self { prefix, lookup }
    }

    fn key(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// A value as it is, for secrets: blanks belong to it.
    pub fn exactly(&self, name: &str) -> Option<String> {
        (self.lookup)(&self.key(name)).filter(|value| !value.is_empty())
    }

    /// A value without blanks around it.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.exactly(name)?.trim().to_owned();
        Some(value).filter(|value| !value.is_empty())
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// [`Error::Invalid`] names it.
    pub fn require(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| Error::invalid(format!("{} is not set", self.key(name))))
    }

    /// Reads a value that is no secret by `read`, which knows what is `expected`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names it, and shows the value.
    pub fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.text(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| {
            Error::invalid(format!("{} is {value:?}, expected {expected}", self.key(name)))
        })
    }

    /// A number above zero.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.read(name, "a number above zero", |value| value.parse().ok())
    }

    /// A duration in seconds, such as `5` or `0.5`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn seconds(&self, name: &str) -> Result<Option<Duration>> {
        self.read(name, "seconds", |value| Duration::try_from_secs_f64(value.parse().ok()?).ok())
    }

    /// Yes or no.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "yes or no", |value| match value.to_ascii_lowercase().as_str() {
            "yes" | "y" | "true" | "t" | "on" | "1" => Some(true),
            "no" | "n" | "false" | "f" | "off" | "0" => Some(false),
            _ => None,
        })
    }

    /// `PAGE_SIZE`, `QUEUE_BOUND`, `CACHE_BOUND`, `LOCK_TIMEOUT` and `IMMUTABLE_LOG`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn common(&self, options: &mut CommonOptions) -> Result<()> {
        set(&mut options.page_size, self.number("PAGE_SIZE")?);
        set(&mut options.queue_bound, self.number("QUEUE_BOUND")?);
        set(&mut options.cache_bound, self.number("CACHE_BOUND")?);
        set(&mut options.lock_timeout, self.seconds("LOCK_TIMEOUT")?);
        set(&mut options.immutable_log, self.flag("IMMUTABLE_LOG")?);
        Ok(())
    }
}

/// Replaces an option if there is a value.
pub fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}
