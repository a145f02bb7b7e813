//! The command line of test binaries: that of libtest-mimic, and several filters.

use libtest_mimic::{Arguments, Trial};

/// The flags that take a value as the next argument.
const WITH_VALUE: &[&str] = &["--test-threads", "--logfile", "--skip", "--color", "--format", "-Z"];

/// Takes the filters out of a command line whose first element is the program: libtest-mimic accepts one only.
pub(super) fn parse(all: impl IntoIterator<Item = String>) -> (Arguments, Vec<String>) {
    let (mut flags, mut filters) = (Vec::new(), Vec::new());
    let mut all = all.into_iter();
    flags.extend(all.next());
    while let Some(argument) = all.next() {
        if argument == "--" {
            filters.extend(all.by_ref());
        } else if argument.starts_with('-') {
            let value = WITH_VALUE.contains(&argument.as_str()).then(|| all.next()).flatten();
            flags.push(argument);
            flags.extend(value);
        } else {
            filters.push(argument);
        }
    }
    (Arguments::from_iter(flags), filters)
}

/// Leaves the tests that a filter names; all, if there is no filter.
pub(super) fn retain(trials: &mut Vec<Trial>, arguments: &Arguments, filters: &[String]) {
    let named = |name: &str, filter: &String| {
        if arguments.exact { name == filter } else { name.contains(filter.as_str()) }
    };
    if !filters.is_empty() {
        trials.retain(|trial| filters.iter().any(|filter| named(trial.name(), filter)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(line: &str) -> Vec<String> {
        let (arguments, filters) = parse(line.split(' ').map(str::to_owned));
        assert_eq!(arguments.filter, None);
        let test = |name: &str| Trial::test(name, || Ok(()));
        let mut trials = ["scan.all", "scan.tail", "cond.nothing"].map(test).into();
        retain(&mut trials, &arguments, &filters);
        trials.iter().map(|trial| trial.name().to_owned()).collect()
    }

    #[test]
    fn a_test_runs_if_one_of_the_filters_names_it() {
        assert_eq!(left("test"), ["scan.all", "scan.tail", "cond.nothing"]);
        assert_eq!(left("test scan."), ["scan.all", "scan.tail"]);
        assert_eq!(left("test tail cond."), ["scan.tail", "cond.nothing"]);
        assert_eq!(left("test --exact scan. cond.nothing"), ["cond.nothing"]);
        assert_eq!(left("test --test-threads 2 tail"), ["scan.tail"]);
        assert_eq!(left("test --test-threads=2 -- tail all"), ["scan.all", "scan.tail"]);
    }
}
