//! The attribute `#[event(..)]`: what may be written in it, and what is said if something else is.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result};

/// As long as a name of the log may be.
const MAX_NAME_BYTES: usize = 255;

/// What `#[event(..)]` says of one kind of event.
#[derive(Default)]
pub(crate) struct KindAttributes {
    pub(crate) name: Option<LitStr>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) version: Option<(u32, Span)>,
    pub(crate) steps: Option<(Vec<Path>, Span)>,
    pub(crate) format: Option<Path>,
}

impl KindAttributes {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|one| one.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| found.take(&meta))?;
        }
        found.check_version()?;
        Ok(found)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            let name = checked(meta.value()?.parse()?)?;
            once(self.name.replace(name).is_some(), meta, "name")
        } else if meta.path.is_ident("alias") {
            self.aliases.push(checked(meta.value()?.parse()?)?);
            Ok(())
        } else if meta.path.is_ident("version") {
            let number: LitInt = meta.value()?.parse()?;
            let version = number.base10_parse()?;
            if version == 0 {
                return Err(Error::new(number.span(), "schema versions count from 1"));
            }
            once(self.version.replace((version, number.span())).is_some(), meta, "version")
        } else if meta.path.is_ident("upcast") {
            let mut steps = Vec::new();
            meta.parse_nested_meta(|step| {
                steps.push(step.path);
                Ok(())
            })?;
            once(self.steps.replace((steps, meta.path.span())).is_some(), meta, "upcast")
        } else if meta.path.is_ident("format") {
            let format = meta.value()?.parse()?;
            once(self.format.replace(format).is_some(), meta, "format")
        } else if meta.path.is_ident("tag") {
            Err(meta.error("`tag` belongs on a field, whose value it takes"))
        } else {
            let known = "`name`, `alias`, `version`, `upcast` or `format`";
            Err(meta.error(format!("unknown key: write {known}")))
        }
    }

    /// A version has a step from each earlier one.
    fn check_version(&self) -> Result<()> {
        let steps = self.steps.as_ref().map_or(0, |(steps, _)| steps.len());
        match (self.version, &self.steps) {
            (Some((version, span)), _) if u32::try_from(steps) != Ok(version - 1) => {
                let needed = version - 1;
                let message = format!(
                    "version {version} needs {needed} upcast steps, one from each earlier version, and has {steps}: \
                     write `upcast({})`",
                    (1..version)
                        .map(|v| format!("v{v}_to_v{}", v + 1))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                Err(Error::new(span, message))
            }
            (None, Some((_, span))) => {
                let message = format!(
                    "{steps} upcast steps lead to version {}: write `version = {}`",
                    steps + 1,
                    steps + 1
                );
                Err(Error::new(*span, message))
            }
            _ => Ok(()),
        }
    }
}

/// What `#[event(..)]` says of a field: the key of its tag.
pub(crate) fn tag(attributes: &[Attribute]) -> Result<Option<LitStr>> {
    let mut tag = None;
    for attribute in attributes.iter().filter(|one| one.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("tag") {
                return Err(meta.error("unknown key: write `tag = \"..\"` on a field"));
            }
            let key = checked(meta.value()?.parse()?)?;
            once(tag.replace(key).is_some(), &meta, "tag")
        })?;
    }
    Ok(tag)
}

fn once(repeated: bool, meta: &ParseNestedMeta<'_>, key: &str) -> Result<()> {
    if repeated { Err(meta.error(format!("`{key}` is given twice"))) } else { Ok(()) }
}

/// A literal that is a name of the log.
fn checked(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let wrong = if text.is_empty() {
        "a name must not be empty".to_owned()
    } else if text.len() > MAX_NAME_BYTES {
        format!("a name has at most {MAX_NAME_BYTES} bytes, got {}", text.len())
    } else if text.chars().any(char::is_control) {
        "a name must not hold a control character".to_owned()
    } else if text == "discarded" {
        "the name `discarded` is reserved: `Repository::discard` appends it".to_owned()
    } else {
        return Ok(name);
    };
    Err(Error::new(name.span(), wrong))
}
