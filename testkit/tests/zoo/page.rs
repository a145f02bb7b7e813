//! A page of `docs/`: which checks prove which promise of a contract, made from its documentation, the list of checks and
//! the zoo.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use annals_testkit::engine::{Check, Class, Contract, Specimen};

/// What a page is made of.
pub(crate) struct Page<C: Contract> {
    /// Its name in `docs/`.
    pub(crate) name: &'static str,
    /// The test that makes it, as `cargo test` takes it.
    pub(crate) test: &'static str,
    /// What comes before the rules.
    pub(crate) head: &'static str,
    /// The source of the trait whose documentation has the rules.
    pub(crate) contract: &'static str,
    pub(crate) specimens: Vec<Specimen<C>>,
    pub(crate) words: fn(C::Need) -> String,
}

impl<C: Contract> Page<C> {
    /// The text of a rule, from the documentation of the trait, in one line.
    fn text(&self, rule: &str) -> Option<String> {
        let begin = format!("/// - **{rule}** ");
        let mut lines = self.contract.lines().skip_while(|line| !line.starts_with(&begin));
        let mut text = lines.next()?.strip_prefix(&begin)?.to_owned();
        for line in lines.map_while(|line| line.strip_prefix("///   ")) {
            text.push(' ');
            text.push_str(line);
        }
        // Links of the documentation lead nowhere here.
        Some(text.replace("[`", "`").replace("`]", "`"))
    }

    fn naming(&self, id: &str) -> impl Iterator<Item = &Specimen<C>> {
        self.specimens.iter().filter(move |broken| broken.caught_by.contains(&id))
    }

    /// How many specimens name the check, and how many of them name no other.
    fn counts(&self, id: &str) -> [usize; 2] {
        let alone = self.naming(id).filter(|broken| broken.caught_by.len() == 1);
        [self.naming(id).count(), alone.count()]
    }

    fn row(&self, check: &Check<C>) -> String {
        let class = match check.class {
            Class::Required => "required",
            Class::Optional => "optional",
            Class::Stochastic => "stochastic",
        };
        let needs: Vec<_> = check.needs.iter().copied().map(self.words).collect();
        let [caught, alone] = self.counts(check.id).map(|count| match count {
            0 => String::new(),
            count => count.to_string(),
        });
        format!(
            "| `{}` | {} | {class} | {} | {caught} | {alone} |\n",
            check.id,
            check.about.replace('|', "\\|"),
            needs.join(", ")
        )
    }

    fn made(&self) -> String {
        let checks = C::checks();
        let mut page = self.head.to_owned();
        for rule in C::RULES {
            let id = rule.id.as_ref();
            let text = self.text(id).expect("the contract has the rule");
            let _ = write!(page, "\n## {id}: {}\n\n> {text}\n\n", rule.title);
            page.push_str(
                "| check | proves that | class | needs | caught | alone |\n|---|---|---|---|---|---|\n",
            );
            let rows = checks.iter().filter(|check| check.rules.contains(&id));
            page.extend(rows.map(|check| self.row(check)));
        }
        let shared = |check: &&Check<C>| matches!(self.counts(check.id), [caught, 0] if caught > 0);
        let shared: Vec<_> = checks.iter().filter(shared).collect();
        if !shared.is_empty() {
            page.push_str(
                "\n## Checks that are never named alone\n\nEach specimen that names one of these names another check as well. They \
                 prove the same thing in another way, or are candidates to be merged; `ANNALS_ZOO=table` runs the whole suite on \
                 every specimen and shows which.\n\n",
            );
        }
        for check in shared {
            let beside: BTreeSet<_> = self
                .naming(check.id)
                .flat_map(|broken| broken.caught_by)
                .filter(|id| **id != check.id)
                .map(|id| format!("`{id}`"))
                .collect();
            let beside: Vec<_> = beside.into_iter().collect();
            let _ = writeln!(page, "- `{}`: beside {}", check.id, beside.join(", "));
        }
        if !C::UNPROVEN.is_empty() {
            page.push_str(
                "\n## Checks without a specimen\n\nNo specimen of the zoo proves that these can fail.\n\n",
            );
        }
        for (id, why) in C::UNPROVEN {
            let _ = writeln!(page, "- `{id}`: {why}");
        }
        page
    }

    /// Fails if the page is not as the contract and the checks say; writes it with `ANNALS_UPDATE_DOCS`.
    pub(crate) fn is_up_to_date(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(self.name);
        let page = self.made();
        if std::env::var_os("ANNALS_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).expect("the page can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let differs =
            page.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
        assert!(
            found == page,
            "docs/{} is not up to date; expected and found: {differs:#?}\nANNALS_UPDATE_DOCS=1 cargo test {}",
            self.name,
            self.test
        );
    }

    /// Fails if the documentation of the contract has other rules than its checks, or in another order.
    pub(crate) fn has_every_rule(&self) {
        let rules = self.contract.lines().filter_map(|line| line.strip_prefix("/// - **"));
        let rules: Vec<_> = rules.filter_map(|line| line.split("**").next()).collect();
        let known: Vec<_> = C::RULES.iter().map(|rule| rule.id.as_ref()).collect();
        assert_eq!(rules, known);
    }
}

/// Fails if the checks have changed and the version of the suite has not. The versions are given with a digest of what
/// a page says of the checks.
pub(crate) fn the_version_rises_with_the_checks<C: Contract>(versions: &[(u32, &str)]) {
    let mut text = String::new();
    for Check { id, about, rules, class, needs, .. } in C::checks() {
        let _ = writeln!(text, "{id} {about} {rules:?} {class:?} {needs:?}");
    }
    let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).to_string();
    assert_eq!(
        versions.last(),
        Some(&(C::VERSION, digest.as_str())),
        "the checks have changed: raise the version of the suite, and add it to this list"
    );
    assert!(versions.is_sorted_by(|(a, _), (b, _)| a < b), "versions rise");
}
