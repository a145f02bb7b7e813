//! The modules of a crate and what each names of the others.
//!
//! Paths are read as tokens: in `use`, in types and expressions, and in the arguments of macros. Modules of tests
//! (`#[cfg(test)]`) are left out. A name that a module re-exports leads to the file that it comes from. What a module names
//! of the modules below it, without `crate` or `super`, is no import: a folder is one thing with its file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

type Names = Vec<String>;

/// The modules of a crate.
#[derive(Debug, Default)]
pub struct Modules {
    /// Each by its path in the crate; the root has the empty path.
    pub all: BTreeMap<Names, Module>,
}

/// A module.
#[derive(Debug)]
pub struct Module {
    /// The file that it is written in.
    pub file: PathBuf,
    /// Its items.
    pub items: Vec<Item>,
    /// Which path of the crate, or of another one, each imported name stands for.
    pub imports: BTreeMap<String, Names>,
    named: BTreeSet<Names>,
}

impl Modules {
    /// Reads the crate whose root file is `library`.
    ///
    /// # Panics
    /// If a file of it cannot be read or parsed.
    #[must_use]
    pub fn of(library: &Path) -> Self {
        let mut modules = Self::default();
        let below = library.parent().expect("a file lies in a folder").to_owned();
        modules.read(Vec::new(), library, &below);
        modules.note_imports();
        modules.note_names();
        modules
    }

    /// For each file of the crate, those that it imports from.
    #[must_use]
    pub fn files(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut files: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for module in self.all.values() {
            let imported = files.entry(&module.file).or_default();
            imported.extend(module.named.iter().filter_map(|path| self.file_of(path)));
            imported.remove(&*module.file);
        }
        files
    }

    fn read(&mut self, path: Names, file: &Path, below: &Path) {
        let text =
            fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(path, file, below, parsed.items);
    }

    /// Adds a module of `file`; files of its own modules lie in `below`.
    fn add(&mut self, path: Names, file: &Path, below: &Path, items: Vec<Item>) {
        for item in &items {
            let Item::Mod(child) = item else { continue };
            if is_test(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let inner = [path.as_slice(), std::slice::from_ref(&name)].concat();
            if let Some((_, items)) = &child.content {
                self.add(inner, file, &below.join(&name), items.clone());
            } else {
                let flat = below.join(format!("{name}.rs"));
                let child = if flat.exists() { flat } else { below.join(&name).join("mod.rs") };
                self.read(inner, &child, &below.join(&name));
            }
        }
        let (file, imports, named) = (file.to_owned(), BTreeMap::new(), BTreeSet::new());
        self.all.insert(path, Module { file, items, imports, named });
    }

    fn note_imports(&mut self) {
        let paths: Vec<Names> = self.all.keys().cloned().collect();
        for path in paths {
            let mut imports = Vec::new();
            for item in &self.all[&path].items {
                if let Item::Use(item) = item {
                    leaves(&item.tree, &mut Vec::new(), &mut imports);
                }
            }
            let absolute = imports
                .into_iter()
                .map(|(name, names)| (name, self.absolute(&path, &names)))
                .collect();
            if let Some(module) = self.all.get_mut(&path) {
                module.imports = absolute;
            }
        }
    }

    fn note_names(&mut self) {
        let paths: Vec<Names> = self.all.keys().cloned().collect();
        for path in paths {
            let mut named = Vec::new();
            for item in &self.all[&path].items {
                match item {
                    // A module in the module is one of its own.
                    Item::Mod(_) => {}
                    // A name that is exported again is a door to it, and no use of it.
                    Item::Use(item) if !matches!(item.vis, Visibility::Inherited) => {}
                    item => paths_in(item.to_token_stream(), &mut named),
                }
            }
            // What a module has below it is a part of it: no import.
            named.retain(|names| {
                names.first().is_some_and(|name| name == "crate" || name == "super")
            });
            let named = named.into_iter().map(|names| self.absolute(&path, &names)).collect();
            if let Some(module) = self.all.get_mut(&path) {
                module.named = named;
            }
        }
    }

    /// `names`, as written in the module `at`, from the root of this crate (`crate::…`) or of another one.
    fn absolute(&self, at: &[String], names: &[String]) -> Names {
        let Some(first) = names.first() else { return Names::new() };
        let from_root =
            |base: &[String], rest: &[String]| [&["crate".to_owned()], base, rest].concat();
        let mut base = at;
        let mut rest = names;
        match first.as_str() {
            "crate" => return names.to_vec(),
            "self" => rest = rest.get(1..).unwrap_or_default(),
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    base = base.split_last().map_or(base, |(_, parent)| parent);
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
            _ if self.all.contains_key(&[at, &names[..1]].concat()) => {}
            _ => return names.to_vec(),
        }
        from_root(base, rest)
    }

    /// The file that has what `path` names, re-exports followed.
    fn file_of(&self, path: &[String]) -> Option<&Path> {
        let mut path = path.to_vec();
        // A chain of re-exports is short; more is a circle of them.
        for _ in 0..8 {
            let inner = path.strip_prefix(&["crate".to_owned()])?;
            let depth =
                (0..=inner.len()).rev().find(|depth| self.all.contains_key(&inner[..*depth]))?;
            let module = &self.all[&inner[..depth]];
            let next = inner.get(depth).and_then(|name| module.imports.get(name));
            match next {
                Some(target)
                    if target.first().is_some_and(|name| name == "crate") && *target != path =>
                {
                    path = [target.as_slice(), &inner[depth + 1..]].concat();
                }
                // What is imported from another crate is no import from this module.
                Some(target) if *target != path => return None,
                _ if inner.is_empty() => return None,
                _ => return Some(&module.file),
            }
        }
        None
    }
}

pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.to_token_stream().to_string() == "cfg (test)"
    })
}

/// Every name that a `use` brings, with its path as written.
fn leaves(tree: &UseTree, prefix: &mut Names, found: &mut Vec<(String, Names)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, prefix, found)),
        UseTree::Glob(_) => {}
        UseTree::Name(name) if name.ident == "self" => {
            found.extend(prefix.last().map(|name| (name.clone(), prefix.clone())));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found.push((name.clone(), [prefix.as_slice(), &[name]].concat()));
        }
        UseTree::Rename(rename) => {
            found.push((
                rename.rename.to_string(),
                [prefix.as_slice(), &[rename.ident.to_string()]].concat(),
            ));
        }
    }
}

/// Every path of two names and more, groups in braces taken apart.
pub(crate) fn paths_in(tokens: TokenStream, found: &mut Vec<Names>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => paths_in(group.stream(), found),
            TokenTree::Ident(_) => {
                at = path_at(&tokens, at, &[], found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Reads the path at `at`, below `prefix`, and returns where it ends.
fn path_at(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Names>,
) -> usize {
    let mut path = prefix.to_vec();
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        path.push(name.to_string());
        at += 1;
        if !is_colons(tokens, at) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut within = 0;
            while within < inner.len() {
                within = path_at(&inner, within, &path, found).max(within + 1);
            }
            return at + 1;
        }
    }
    if path.len() > 1 {
        found.push(path);
    }
    at
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| match tokens.get(at) {
        Some(TokenTree::Punct(punct)) if punct.as_char() == ':' => Some(punct.spacing()),
        _ => None,
    };
    colon(at) == Some(Spacing::Joint) && colon(at + 1).is_some()
}
