//! The code of `#[derive(Event)]`.
//!
//! Payloads are written through a hidden struct of the event's fields, by value, so that `#[serde(..)]` on a field means
//! what it means everywhere.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::shape::{Events, Form, Kind, Part};

pub(crate) fn expand(events: &Events) -> TokenStream {
    let ident = &events.ident;
    let format = events
        .format
        .as_ref()
        .map_or_else(|| quote!(::annals_domain::Json), |format| quote!(#format));
    let own = events.kinds.iter().map(|kind| kind_constant(kind, &format));
    let parts: Vec<_> = events.parts.iter().map(|part| &part.ty).collect();
    let part_kinds =
        parts.iter().map(|ty| quote_spanned!(ty.span()=> <#ty as ::annals_domain::Event>::KINDS));
    let count = events.kinds.len();
    let hidden = events.kinds.iter().enumerate().map(|(nth, kind)| hidden_struct(nth, kind));
    let kind_arms = events.kinds.iter().enumerate().map(|(nth, kind)| {
        let path = path(kind);
        quote!(#path { .. } => &OWN[#nth],)
    });
    let tag_arms = events.kinds.iter().map(tag_arm);
    let encode_arms = events.kinds.iter().enumerate().map(|(nth, kind)| encode_arm(nth, kind));
    let decode_arms = events.kinds.iter().enumerate().map(|(nth, kind)| {
        let (name, hidden) = (&kind.name, hidden_ident(nth));
        let (path, pattern, inner) = (path(kind), pattern(kind), hidden_pattern(kind));
        quote! {
            #name => {
                let #hidden #inner = ::annals_domain::__private::read::<#format, _>(payload)?;
                ::core::result::Result::Ok(#path #pattern)
            }
        }
    });
    let part_kind = events.parts.iter().map(
        |Part { variant, .. }| quote!(Self::#variant(part) => ::annals_domain::Event::kind(part),),
    );
    let part_tags = events.parts.iter().map(
        |Part { variant, .. }| quote!(Self::#variant(part) => ::annals_domain::Event::tags(part),),
    );
    let part_encode = events.parts.iter().map(|Part { variant, .. }| {
        quote! {
            Self::#variant(part) => {
                let (part, payload) = ::annals_domain::Event::encode(part)?;
                ::core::result::Result::Ok((Self::#variant(part), payload))
            }
        }
    });
    let part_decode = events.parts.iter().map(|Part { variant, ty }| {
        quote! {
            name if ::annals_domain::Kind::named(<#ty as ::annals_domain::Event>::KINDS, name) => {
                <#ty as ::annals_domain::Event>::decode(name, payload).map(Self::#variant)
            }
        }
    });
    // A type without any event has no value, so its matches have no arm.
    let (this, by_value) = if count + parts.len() == 0 {
        (quote!(*self), quote!(self))
    } else {
        (quote!(self), quote!(self))
    };
    quote! {
        const _: () = {
            const OWN: &[::annals_domain::Kind] = &[#(#own),*];
            #(#hidden)*

            #[automatically_derived]
            #[allow(clippy::indexing_slicing, reason = "the compiler checks the literals")]
            impl ::annals_domain::Event for #ident {
                const KINDS: &'static [::annals_domain::Kind] = {
                    const COUNT: usize = #count #(+ <#parts as ::annals_domain::Event>::KINDS.len())*;
                    const JOINED: [::annals_domain::Kind; COUNT] =
                        ::annals_domain::Kind::join(&[OWN, #(#part_kinds),*]);
                    &JOINED
                };

                fn kind(&self) -> &'static ::annals_domain::Kind {
                    match #this { #(#kind_arms)* #(#part_kind)* }
                }

                fn tags(
                    &self,
                ) -> ::core::result::Result<::annals_domain::__private::Tags, ::annals_domain::__private::InvalidName>
                {
                    match #this { #(#tag_arms)* #(#part_tags)* }
                }

                fn encode(
                    self,
                ) -> ::core::result::Result<
                    (Self, ::annals_domain::__private::Payload),
                    ::annals_domain::__private::InvalidPayload,
                > {
                    type Format = #format;
                    match #by_value { #(#encode_arms)* #(#part_encode)* }
                }

                fn decode(
                    name: &str,
                    payload: &::annals_domain::__private::Payload,
                ) -> ::core::result::Result<Self, ::annals_domain::__private::BoxError> {
                    match name {
                        #(#decode_arms)*
                        #(#part_decode)*
                        _ => ::core::result::Result::Err(::annals_domain::__private::not_a_name(name)),
                    }
                }
            }
        };
    }
}

fn kind_constant(kind: &Kind, format: &TokenStream) -> TokenStream {
    let Kind { name, aliases, steps, .. } = kind;
    // The span of the step, so that a function of another type is reported where it is named.
    let steps =
        steps.iter().map(|step| quote_spanned!(step.span()=> #step as ::annals_domain::Step));
    quote! {
        ::annals_domain::Kind::new(#name)
            .with_aliases(&[#(#aliases),*])
            .with_steps(&[#(#steps),*])
            .with_format::<#format>()
    }
}

fn hidden_ident(nth: usize) -> Ident {
    format_ident!("__Payload{nth}")
}

fn hidden_struct(nth: usize, kind: &Kind) -> TokenStream {
    let ident = hidden_ident(nth);
    let fields = kind.fields.iter().map(|field| {
        let (name, ty, serde) = (&field.ident, &field.ty, &field.serde);
        quote!(#(#serde)* #name: #ty)
    });
    let transparent = (kind.form == Form::Newtype).then(|| quote!(#[serde(transparent)]));
    quote! {
        #[derive(::annals_domain::__private::serde::Serialize, ::annals_domain::__private::serde::Deserialize)]
        #[serde(crate = "::annals_domain::__private::serde")]
        #transparent
        struct #ident { #(#fields),* }
    }
}

/// What makes and matches a value of the kind, up to its fields.
fn path(kind: &Kind) -> TokenStream {
    kind.variant.as_ref().map_or_else(|| quote!(Self), |variant| quote!(Self::#variant))
}

/// The fields, each under a name of its own: as a pattern and as an expression, also of the hidden struct.
fn pattern(kind: &Kind) -> TokenStream {
    let names = kind.fields.iter().map(|field| &field.ident);
    if kind.form == Form::Newtype { quote!({ 0: value }) } else { quote!({ #(#names),* }) }
}

fn hidden_pattern(kind: &Kind) -> TokenStream {
    let names = kind.fields.iter().map(|field| &field.ident);
    quote!({ #(#names),* })
}

fn tag_arm(kind: &Kind) -> TokenStream {
    let path = path(kind);
    let tagged: Vec<_> = kind
        .fields
        .iter()
        .enumerate()
        .filter_map(|(nth, field)| field.tag.as_ref().map(|tag| (nth, field, tag)))
        .collect();
    if tagged.is_empty() {
        return quote! {
            #path { .. } => ::core::result::Result::Ok(::annals_domain::__private::Tags::NONE),
        };
    }
    let (members, tags): (Vec<_>, Vec<_>) = tagged
        .into_iter()
        .map(|(_, field, tag)| {
            let (name, key) = (&field.ident, format!("{}:", tag.value()));
            let member = if kind.form == Form::Newtype { quote!(0: #name) } else { quote!(#name) };
            let value =
                quote_spanned!(field.ty.span()=> ::annals_domain::__private::tag(#key, #name));
            (member, value)
        })
        .unzip();
    quote! {
        #path { #(#members,)* .. } => ::annals_domain::__private::Tags::parse([#(#tags),*]),
    }
}

fn encode_arm(nth: usize, kind: &Kind) -> TokenStream {
    let hidden = hidden_ident(nth);
    let (path, pattern, inner) = (path(kind), pattern(kind), hidden_pattern(kind));
    quote! {
        #path #pattern => {
            let __hidden = #hidden #inner;
            let __written = <Format as ::annals_domain::Format>::write(&__hidden)?;
            let #hidden #inner = __hidden;
            ::core::result::Result::Ok((#path #pattern, __written))
        }
    }
}
