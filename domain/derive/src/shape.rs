//! What an enum or a struct says about its events.

use std::collections::HashMap;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Path, Result, Type};

use crate::attributes::{KindAttributes, tag};

/// All events of a type.
pub(crate) struct Events {
    pub(crate) ident: Ident,
    pub(crate) format: Option<Path>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) parts: Vec<Part>,
}

/// One kind of event.
pub(crate) struct Kind {
    /// `None`: the type itself, a struct.
    pub(crate) variant: Option<Ident>,
    pub(crate) name: LitStr,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) steps: Vec<Path>,
    pub(crate) form: Form,
    pub(crate) fields: Vec<Field>,
}

/// How the fields are written in Rust.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Named,
    /// One unnamed field.
    Newtype,
    Unit,
}

pub(crate) struct Field {
    /// The field's own name, or one for the unnamed.
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) serde: Vec<Attribute>,
    pub(crate) tag: Option<LitStr>,
}

/// A variant that takes over the events of another type.
pub(crate) struct Part {
    pub(crate) variant: Ident,
    pub(crate) ty: Type,
}

impl Events {
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        if !input.generics.params.is_empty() {
            let message =
                "an event has no type parameters or lifetimes: its payload is read back on its own";
            return Err(Error::new(input.generics.span(), message));
        }
        let own = KindAttributes::of(&input.attrs)?;
        let mut events = Self {
            ident: input.ident.clone(),
            format: own.format.clone(),
            kinds: Vec::new(),
            parts: Vec::new(),
        };
        match &input.data {
            Data::Struct(data) => {
                let kind = Kind::of(None, own, &data.fields, input.ident.span())?;
                events.kinds.push(kind);
            }
            Data::Enum(data) => {
                if let Some(name) = own.name.as_ref().or(own.aliases.first()) {
                    let message = "each variant is an event: the names belong on the variants";
                    return Err(Error::new(name.span(), message));
                }
                if let Some((_, span)) = own.version {
                    let message =
                        "each variant has a version of its own: `version` belongs on a variant";
                    return Err(Error::new(span, message));
                }
                for variant in &data.variants {
                    let attributes = KindAttributes::of(&variant.attrs)?;
                    if let Some(format) = &attributes.format {
                        return Err(Error::new(format.span(), "`format` belongs on the enum"));
                    }
                    let mut fields = variant.fields.iter();
                    match (&attributes.name, &variant.fields, fields.next(), fields.next()) {
                        (None, Fields::Unnamed(_), Some(only), None) => {
                            check_part(&attributes, only)?;
                            let part = Part { variant: variant.ident.clone(), ty: only.ty.clone() };
                            events.parts.push(part);
                        }
                        _ => events.kinds.push(Kind::of(
                            Some(variant.ident.clone()),
                            attributes,
                            &variant.fields,
                            variant.ident.span(),
                        )?),
                    }
                }
            }
            Data::Union(data) => {
                let message = "an event is an enum or a struct";
                return Err(Error::new(data.union_token.span(), message));
            }
        }
        events.check_names()?;
        Ok(events)
    }

    /// No name or alias occurs twice. Those of parts are compared when the constants are evaluated.
    fn check_names(&self) -> Result<()> {
        let mut known: HashMap<String, Span> = HashMap::new();
        for kind in &self.kinds {
            for name in std::iter::once(&kind.name).chain(&kind.aliases) {
                if let Some(first) = known.insert(name.value(), name.span()) {
                    let message = format!("the name {:?} is used twice", name.value());
                    let mut error = Error::new(name.span(), message);
                    error.combine(Error::new(first, "it is used here first"));
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// A variant that takes over the events of another type says nothing about them.
fn check_part(attributes: &KindAttributes, field: &syn::Field) -> Result<()> {
    let said = attributes.aliases.first().map(Spanned::span);
    let said = said.or(attributes.version.map(|(_, span)| span));
    if let Some(span) = said {
        let message = "this variant takes over the events of its field's type: give it a `name` to be an event itself";
        return Err(Error::new(span, message));
    }
    if let Some(key) = tag(&field.attrs)? {
        return Err(Error::new(key.span(), "tags belong on the fields of the event's own type"));
    }
    Ok(())
}

impl Kind {
    fn of(
        variant: Option<Ident>,
        attributes: KindAttributes,
        fields: &Fields,
        span: Span,
    ) -> Result<Self> {
        let Some(name) = attributes.name else {
            let what = variant.as_ref().unwrap_or(&Ident::new("Thing", span)).to_string();
            let message = format!(
                "an event needs a name that lasts longer than the type's: write `#[event(name = \"{what}\")]`"
            );
            return Err(Error::new(span, message));
        };
        let form = match fields {
            Fields::Named(_) => Form::Named,
            Fields::Unit => Form::Unit,
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Form::Newtype,
            Fields::Unnamed(fields) => {
                let message = "name the fields: what is stored as a list cannot grow";
                return Err(Error::new(fields.span(), message));
            }
        };
        let fields = fields.iter().map(Field::of).collect::<Result<Vec<_>>>()?;
        let steps = attributes.steps.map_or_else(Vec::new, |(steps, _)| steps);
        Ok(Self { variant, name, aliases: attributes.aliases, steps, form, fields })
    }
}

impl Field {
    fn of(field: &syn::Field) -> Result<Self> {
        let serde = field.attrs.iter().filter(|one| one.path().is_ident("serde")).cloned();
        Ok(Self {
            ident: field.ident.clone().unwrap_or_else(|| Ident::new("value", field.span())),
            ty: field.ty.clone(),
            serde: serde.collect(),
            tag: tag(&field.attrs)?,
        })
    }
}
