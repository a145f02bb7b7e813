//! Which crates of others a public API names: a new major version of one of these is a new one of ours.
//!
//! A scan of the sources, not of what the compiler resolves: `cargo public-api` and `cargo check-external-types` need a
//! nightly compiler. The lint `unreachable_pub` makes `pub` mean public, and a name leads to its crate through the
//! imports of its file. What an alias or a macro of another crate hides is not seen.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ReturnType, Signature, TraitItem, Type, Visibility};

use crate::modules::{Module, Modules, is_test};

/// Its derive writes impls of std's traits, and leaves no type of its own.
const LEAVES_NOTHING: &str = "thiserror";

/// The crates among `dependencies` that public signatures name, each with where.
#[must_use]
pub fn foreign_types(
    modules: &Modules,
    dependencies: &[String],
) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<String> = modules
        .all
        .values()
        .flat_map(|module| module.items.iter().filter_map(public_type))
        .collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, module) in &modules.all {
        for item in &module.items {
            let mut tokens = TokenStream::new();
            let name = signature(item, &ours, &mut tokens);
            let mut crates = BTreeSet::new();
            crates_of(tokens, module, dependencies, &mut crates);
            for crate_name in crates {
                let place = [path.as_slice(), std::slice::from_ref(&name)].concat().join("::");
                found.entry(crate_name).or_default().insert(place);
            }
        }
    }
    found
}

/// The name of a type or trait that is public.
fn public_type(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    is_public(visibility).then(|| name.to_string())
}

/// What of an item others can see, and its name.
fn signature(item: &Item, ours: &BTreeSet<String>, tokens: &mut TokenStream) -> String {
    match item {
        Item::Fn(item) if is_public(&item.vis) => {
            of_function(&item.sig, tokens);
            item.sig.ident.to_string()
        }
        Item::Const(item) if is_public(&item.vis) => {
            item.ty.to_tokens(tokens);
            item.ident.to_string()
        }
        Item::Type(item) if is_public(&item.vis) => {
            item.ty.to_tokens(tokens);
            item.ident.to_string()
        }
        // A name that is exported again.
        Item::Use(item) if is_public(&item.vis) => {
            item.tree.to_tokens(tokens);
            "use".to_owned()
        }
        Item::Struct(item) if is_public(&item.vis) => {
            derives(&item.attrs, tokens);
            item.generics.to_tokens(tokens);
            of_fields(&item.fields, false, tokens);
            item.ident.to_string()
        }
        Item::Enum(item) if is_public(&item.vis) => {
            derives(&item.attrs, tokens);
            item.generics.to_tokens(tokens);
            item.variants.iter().for_each(|variant| of_fields(&variant.fields, true, tokens));
            item.ident.to_string()
        }
        Item::Trait(item) if is_public(&item.vis) => {
            item.supertraits.to_tokens(tokens);
            for item in &item.items {
                match item {
                    TraitItem::Fn(function) => of_function(&function.sig, tokens),
                    TraitItem::Type(of) => of.bounds.to_tokens(tokens),
                    TraitItem::Const(of) => of.ty.to_tokens(tokens),
                    _ => {}
                }
            }
            item.ident.to_string()
        }
        Item::Impl(item) if !is_test(&item.attrs) => {
            let Some(name) = head(&item.self_ty).filter(|name| ours.contains(name)) else {
                return String::new();
            };
            if let Some((_, of, _)) = &item.trait_ {
                of.to_tokens(tokens);
                item.generics.to_tokens(tokens);
                return name;
            }
            for item in &item.items {
                match item {
                    ImplItem::Fn(function) if is_public(&function.vis) => {
                        of_function(&function.sig, tokens);
                    }
                    ImplItem::Const(of) if is_public(&of.vis) => of.ty.to_tokens(tokens),
                    _ => {}
                }
            }
            name
        }
        _ => String::new(),
    }
}

fn of_function(signature: &Signature, tokens: &mut TokenStream) {
    signature.generics.to_tokens(tokens);
    signature.generics.where_clause.to_tokens(tokens);
    signature.inputs.to_tokens(tokens);
    if let ReturnType::Type(_, of) = &signature.output {
        of.to_tokens(tokens);
    }
}

fn of_fields(fields: &Fields, all: bool, tokens: &mut TokenStream) {
    for field in fields {
        if all || is_public(&field.vis) {
            field.ty.to_tokens(tokens);
        }
    }
}

/// The traits that are derived.
fn derives(attributes: &[Attribute], tokens: &mut TokenStream) {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        attribute.meta.to_tokens(tokens);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The name of the type that an `impl` is for.
fn head(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Reference(reference) => head(&reference.elem),
        _ => None,
    }
}

/// The crates that `tokens` name, directly or by an import of `module`.
fn crates_of(
    tokens: TokenStream,
    module: &Module,
    dependencies: &[String],
    found: &mut BTreeSet<String>,
) {
    // The two tokens before: a name behind `::` is no first one.
    let mut before = [false; 2];
    for token in tokens {
        match &token {
            TokenTree::Group(group) => crates_of(group.stream(), module, dependencies, found),
            TokenTree::Ident(name) if before != [true; 2] => {
                let name = name.to_string();
                let first =
                    module.imports.get(&name).and_then(|path| path.first()).unwrap_or(&name);
                if first != LEAVES_NOTHING && dependencies.contains(first) {
                    found.insert(first.clone());
                }
            }
            _ => {}
        }
        before = [before[1], matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':')];
    }
}
