//! What the environment says of a run.

use std::time::Duration;

use crate::engine::suite::begins;
use crate::engine::{Contract, Flavour, Profile, Suite};

impl<C: Contract> Suite<C> {
    /// Takes the seed, profile, runtime, limits and requirements that are set in the
    /// [environment](crate#environment).
    ///
    /// # Errors
    /// Names the variable and its value when that makes no sense.
    pub fn with_env(self) -> Result<Self, String> {
        self.with_vars(|key| std::env::var(key).ok())
    }

    fn with_vars(mut self, var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok();
        let seconds = |text: &str| number(text).map(Duration::from_secs);
        let profile = |text: &str| match text {
            "quick" => Some(Profile::Quick),
            "full" => Some(Profile::Full),
            _ => text.strip_prefix("soak:").and_then(seconds).map(Profile::Soak),
        };
        let flavour = |text: &str| match text {
            "current" => Some(Flavour::CurrentThread),
            workers => workers.parse().ok().map(Flavour::MultiThread),
        };
        let all = self.all();
        let required = |text: &str| {
            let prefixes = text.split(',').map(|prefix| prefix.trim().to_owned());
            let prefixes: Vec<String> = prefixes.filter(|prefix| !prefix.is_empty()).collect();
            prefixes
                .iter()
                .all(|prefix| all.iter().any(|check| begins(check.id, prefix)))
                .then_some(prefixes)
        };
        set(&mut self.seed, &var, "ANNALS_TESTKIT_SEED", "a number", number)?;
        set(
            &mut self.profile,
            &var,
            "ANNALS_TESTKIT_PROFILE",
            "quick, full or soak:SECONDS",
            profile,
        )?;
        set(
            &mut self.flavour,
            &var,
            "ANNALS_TESTKIT_RUNTIME",
            "current or a number of threads",
            flavour,
        )?;
        set(&mut self.limit, &var, "ANNALS_TESTKIT_LIMIT", "a number of seconds", seconds)?;
        set(&mut self.strict, &var, "ANNALS_TESTKIT_STRICT", "0 or 1", |text| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })?;
        set(
            &mut self.require,
            &var,
            "ANNALS_TESTKIT_REQUIRE",
            "all or beginnings of check ids",
            required,
        )?;
        Ok(self)
    }
}

/// Sets `field` to what the variable `key` says, if it is set.
fn set<T>(
    field: &mut T,
    var: &impl Fn(&str) -> Option<String>,
    key: &str,
    wanted: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<(), String> {
    if let Some(text) = var(key) {
        *field = parse(&text).ok_or_else(|| format!("{key} is {wanted}, got {text:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suite;
    use crate::checks;
    use crate::harness::Harness;

    struct Nowhere;

    #[async_trait::async_trait]
    impl Harness for Nowhere {
        async fn open(&self, _namespace: &str) -> crate::harness::Opened {
            Err("there is no store".into())
        }
    }

    fn suite(key: &str, text: &str) -> Result<Suite, String> {
        let var = |asked: &str| (asked == key).then(|| text.to_owned());
        Suite::new("nowhere", Nowhere).with_vars(var)
    }

    #[test]
    fn the_environment_says_how_it_runs() {
        assert_eq!(suite("ANNALS_TESTKIT_SEED", "42").unwrap().seed, 42);
        let soak = suite("ANNALS_TESTKIT_PROFILE", "soak:9").unwrap();
        assert_eq!(soak.profile, Profile::Soak(Duration::from_secs(9)));
        assert_eq!(suite("ANNALS_TESTKIT_PROFILE", "full").unwrap().profile, Profile::Full);
        let current = suite("ANNALS_TESTKIT_RUNTIME", "current").unwrap();
        assert_eq!(current.flavour, Flavour::CurrentThread);
        assert_eq!(suite("ANNALS_TESTKIT_LIMIT", "7").unwrap().limit, Duration::from_secs(7));
        assert!(suite("ANNALS_TESTKIT_STRICT", "1").unwrap().strict);
        let required = suite("ANNALS_TESTKIT_REQUIRE", "pos., dur.kill9,").unwrap();
        let ids = ["pos.contiguous", "dur.kill9", "dur.reopen"];
        let checks = ids.map(|id| *checks::all().find(|check| check.id == id).unwrap());
        assert_eq!(checks.map(|check| required.requires(&check)), [true, true, false]);
        assert!(suite("ANNALS_TESTKIT_REQUIRE", "all").unwrap().requires(&checks[0]));
        assert!(!suite("ANNALS_TESTKIT_REQUIRE", "").unwrap().requires(&checks[0]));
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named_with_what_it_can_be() {
        for (key, text, told) in [
            ("SEED", "x", "SEED is a number, got \"x\""),
            ("PROFILE", "soak", "PROFILE is quick, full or soak:SECONDS, got \"soak\""),
            ("PROFILE", "fulll", "PROFILE is quick, full or soak:SECONDS, got \"fulll\""),
            ("RUNTIME", "two", "RUNTIME is current or a number of threads, got \"two\""),
            ("STRICT", "yes", "STRICT is 0 or 1, got \"yes\""),
            ("LIMIT", "-1", "LIMIT is a number of seconds, got \"-1\""),
            (
                "REQUIRE",
                "pos.,duur.",
                "REQUIRE is all or beginnings of check ids, got \"pos.,duur.\"",
            ),
        ] {
            let told = format!("ANNALS_TESTKIT_{told}");
            assert_eq!(suite(&format!("ANNALS_TESTKIT_{key}"), text).unwrap_err(), told);
        }
    }
}
