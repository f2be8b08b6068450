//! Reads one file of source: what it defines, what it imports, which paths it names.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, Token, UseTree, Visibility};

/// A module as it is written: a file, or an inline module of one.
#[derive(Default)]
pub(crate) struct Written {
    /// Types, functions, constants and macros that it defines.
    pub(crate) items: Vec<String>,
    /// Of these, the types, with the line each stands on; those inside functions too.
    pub(crate) types: Vec<(String, usize)>,
    pub(crate) imports: Vec<Import>,
    pub(crate) modules: Vec<Child>,
    pub(crate) named: Vec<Named>,
    pub(crate) impls: Vec<Impl>,
    /// Other names for types: the name, and the path it stands for.
    pub(crate) aliases: Vec<(String, Vec<String>)>,
    /// What paths start with, those of attributes and those after a leading `::` too: the libraries
    /// that are used are among them.
    pub(crate) first_names: BTreeSet<String>,
    pub(crate) functions: Vec<Function>,
    /// Names that patterns bind: such a name alone need not be the item of that name.
    bound: Vec<String>,
}

/// One name of a `use`.
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    /// Under which name it is imported; `None` for `_` and for `*`.
    pub(crate) name: Option<String>,
    /// It is a `*`: `path` is what the names are taken from.
    pub(crate) glob: bool,
    /// It is there for others too: `pub use`, `pub(super) use`.
    pub(crate) reexport: bool,
}

/// An `impl` block.
pub(crate) struct Impl {
    /// The type it is for.
    pub(crate) of: Vec<String>,
    /// It implements no trait.
    pub(crate) inherent: bool,
}

/// A child module.
pub(crate) struct Child {
    pub(crate) name: String,
    /// What its `path` attribute says.
    pub(crate) path: Option<String>,
    /// What stands between its braces; `None` if it is a file.
    pub(crate) inline: Option<Written>,
}

/// A path that the code names.
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    /// It is the name of a macro that is called.
    pub(crate) called_macro: bool,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// From the line of `fn` to that of the closing brace.
    pub(crate) lines: usize,
}

/// Reads a file. Without `tests`, what is compiled for tests alone is left out.
pub(crate) fn read(text: &str, tests: bool) -> syn::Result<Written> {
    let file = syn::parse_file(text)?;
    if !tests && for_tests_alone(&file.attrs) {
        return Ok(Written::default());
    }
    Ok(read_items(&file.items, tests))
}

fn read_items(items: &[Item], tests: bool) -> Written {
    let mut reader = Reader {
        written: Written::default(),
        tests,
    };
    for item in items {
        reader.visit_item(item);
    }
    let mut written = reader.written;
    let bound = std::mem::take(&mut written.bound);
    written
        .named
        .retain(|named| named.path.len() > 1 || !bound.contains(&named.path[0]));
    written
}

/// Whether attributes say that something is compiled for tests alone.
fn for_tests_alone(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let conditions = || attribute.parse_args::<Meta>().ok();
        path.is_ident("test")
            || path.is_ident("cfg") && conditions().is_some_and(|meta| holds(&meta) == Some(false))
    })
}

/// Whether a condition holds outside of tests; `None` if that depends on something else.
fn holds(condition: &Meta) -> Option<bool> {
    let Meta::List(list) = condition else {
        let test = condition.path().is_ident("test") || condition.path().is_ident("doctest");
        return test.then_some(false);
    };
    let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
    let parts = list.parse_args_with(parser).ok()?;
    let mut parts = parts.iter().map(holds);
    if list.path.is_ident("not") {
        parts.next().flatten().map(|inner| !inner)
    } else if list.path.is_ident("all") {
        parts.any(|part| part == Some(false)).then_some(false)
    } else if list.path.is_ident("any") {
        parts.all(|part| part == Some(false)).then_some(false)
    } else {
        None
    }
}

/// Collects what stands in one module, down to the bodies of its functions.
struct Reader {
    written: Written,
    tests: bool,
}

impl Reader {
    fn skips(&self, attributes: &[Attribute]) -> bool {
        !self.tests && for_tests_alone(attributes)
    }

    fn define(&mut self, name: &Ident) {
        self.written.items.push(text(name));
    }

    fn define_type(&mut self, name: &Ident) {
        self.define(name);
        let line = name.span().start().line;
        self.written.types.push((text(name), line));
    }

    fn name(&mut self, path: Vec<String>, called_macro: bool) {
        self.starts(&path);
        self.written.named.push(Named { path, called_macro });
    }

    /// Notes what a path starts with. A name alone is no library.
    fn starts(&mut self, path: &[String]) {
        if path.len() > 1 {
            self.written.first_names.insert(path[0].clone());
        }
    }

    /// Notes what the names of a `use` start with.
    fn import_starts(&mut self, tree: &UseTree) {
        let first = match tree {
            UseTree::Path(path) => &path.ident,
            UseTree::Name(name) => &name.ident,
            UseTree::Rename(rename) => &rename.ident,
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import_starts(tree));
                return;
            }
            UseTree::Glob(_) => return,
        };
        self.written.first_names.insert(text(first));
    }

    /// Notes what the paths in an attribute start with.
    fn attribute_starts(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let TokenTree::Group(group) = &tokens[at] {
                self.attribute_starts(group.stream());
            }
            let (path, end) = path_at(&tokens, at);
            self.starts(&path);
            at = end.max(at + 1);
        }
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.fn_token.span().start().line;
        let last = body.brace_token.span.close().end().line;
        self.written.functions.push(Function {
            name: text(&signature.ident),
            lines: last + 1 - first,
        });
    }

    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>, reexport: bool) {
        let (path, name, glob) = match tree {
            UseTree::Path(path) => {
                before.push(text(&path.ident));
                self.import(&path.tree, before, reexport);
                before.pop();
                return;
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, reexport);
                }
                return;
            }
            UseTree::Glob(_) => (before.clone(), None, true),
            UseTree::Name(name) => {
                let path = joined(before, &name.ident);
                let name = path.last().cloned();
                (path, name, false)
            }
            UseTree::Rename(rename) => {
                let name = Some(text(&rename.rename)).filter(|name| name != "_");
                (joined(before, &rename.ident), name, false)
            }
        };
        self.written.imports.push(Import {
            path,
            name,
            glob,
            reexport,
        });
    }

    /// The paths in what a macro is given, or is made of, and the types that stand there.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    at += 1;
                }
                TokenTree::Ident(first) => {
                    let is_crate = first == "crate";
                    let meant = !follows_dot_or_quote(&tokens[..at])
                        && (is_crate || !is_punct(at.checked_sub(1).map(|i| &tokens[i]), '$'));
                    let (path, end) = path_at(&tokens, at);
                    if meant {
                        self.path_in_macro(path, &tokens, at, end);
                    }
                    at = end;
                }
                _ => at += 1,
            }
        }
    }

    /// Takes the path that stands in `tokens` from `at` to before `end`.
    fn path_in_macro(&mut self, path: Vec<String>, tokens: &[TokenTree], at: usize, end: usize) {
        // Not `type`: most of those are associated.
        if matches!(path[0].as_str(), "struct" | "enum" | "trait") {
            if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                self.define_type(name);
            }
            return;
        }
        let called_macro = is_punct(tokens.get(end), '!');
        let is_call = matches!(tokens.get(end), Some(TokenTree::Group(group))
            if group.delimiter() == Delimiter::Parenthesis);
        let is_field = path.len() == 1 && is_punct(tokens.get(end), ':');
        if path.len() > 1 || called_macro || is_call || (starts_upper(&path[0]) && !is_field) {
            self.name(path, called_macro);
        }
    }
}

/// The path that starts at `at`, and where it ends.
fn path_at(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut end = at;
    while let Some(TokenTree::Ident(name)) = tokens.get(end) {
        path.push(text(name));
        end += 1;
        let colons = is_punct(tokens.get(end), ':') && is_punct(tokens.get(end + 1), ':');
        let goes_on = matches!(tokens.get(end + 2), Some(TokenTree::Ident(_)));
        if !(colons && goes_on) {
            break;
        }
        end += 2;
    }
    (path, end)
}

/// Whether what follows is a field, a method or a lifetime.
fn follows_dot_or_quote(before: &[TokenTree]) -> bool {
    let back = |n: usize| before.len().checked_sub(n).map(|at| &before[at]);
    let is_range = is_punct(back(2), '.');
    is_punct(back(1), '\'') || (is_punct(back(1), '.') && !is_range)
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn starts_upper(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

fn text(name: &Ident) -> String {
    name.unraw().to_string()
}

fn joined(before: &[String], last: &Ident) -> Vec<String> {
    let mut path = before.to_vec();
    let last = text(last);
    // `{self}` is what stands before it.
    if last != "self" || path.is_empty() {
        path.push(last);
    }
    path
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = attributes_of(item);
        if attributes.is_some_and(|attributes| self.skips(attributes)) {
            return;
        }
        match item {
            Item::Const(item) => self.define(&item.ident),
            Item::Enum(item) => self.define_type(&item.ident),
            Item::ExternCrate(item) => {
                self.written.first_names.insert(text(&item.ident));
            }
            Item::Fn(item) => {
                self.define(&item.sig.ident);
                self.function(&item.sig, &item.block);
            }
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name);
                }
            }
            Item::Mod(item) => {
                let inline = item.content.as_ref();
                self.written.modules.push(Child {
                    name: text(&item.ident),
                    path: path_attribute(&item.attrs),
                    inline: inline.map(|(_, items)| read_items(items, self.tests)),
                });
                return;
            }
            Item::Static(item) => self.define(&item.ident),
            Item::Struct(item) => self.define_type(&item.ident),
            Item::Trait(item) => self.define_type(&item.ident),
            Item::TraitAlias(item) => self.define_type(&item.ident),
            Item::Type(item) => {
                self.define_type(&item.ident);
                if let Some(path) = path_of(&item.ty) {
                    self.written.aliases.push((text(&item.ident), path));
                }
            }
            Item::Union(item) => self.define_type(&item.ident),
            Item::Use(item) => {
                self.import_starts(&item.tree);
                let reexport = !matches!(item.vis, Visibility::Inherited);
                if item.leading_colon.is_none() {
                    self.import(&item.tree, &mut Vec::new(), reexport);
                }
                return;
            }
            Item::Impl(item) => {
                if let Some(of) = path_of(&item.self_ty) {
                    let inherent = item.trait_.is_none();
                    self.written.impls.push(Impl { of, inherent });
                }
            }
            Item::Verbatim(tokens) => panic!("write this so that it can be read: {tokens}"),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !self.skips(&function.attrs) {
            self.function(&function.sig, &function.block);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if !self.skips(&function.attrs) {
            if let Some(body) = &function.default {
                self.function(&function.sig, body);
            }
            visit::visit_trait_item_fn(self, function);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !self.skips(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !self.skips(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !self.skips(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_expr_block(&mut self, block: &'ast syn::ExprBlock) {
        if !self.skips(&block.attrs) {
            visit::visit_expr_block(self, block);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !self.skips(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        let name = text(&pattern.ident);
        if starts_upper(&name) {
            self.name(vec![name], false);
        } else {
            self.written.bound.push(name);
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        match path.leading_colon {
            None => self.name(segments(path), false),
            Some(_) => self.starts(&segments(path)),
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.name(segments(&called.path), true);
        self.tokens(called.tokens.clone());
    }

    // What attributes, and the `in` of a visibility, name is not imported.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.starts(&segments(attribute.path()));
        if let Meta::List(list) = &attribute.meta {
            self.attribute_starts(list.tokens.clone());
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|part| text(&part.ident)).collect()
}

/// The path that a type is, if it is one.
fn path_of(of: &syn::Type) -> Option<Vec<String>> {
    match of {
        syn::Type::Group(group) => path_of(&group.elem),
        syn::Type::Paren(paren) => path_of(&paren.elem),
        syn::Type::Path(of) => Some(segments(&of.path)),
        _ => None,
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|a| a.path().is_ident("path"))?;
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(path),
            ..
        }) => Some(path.value()),
        _ => None,
    }
}

fn attributes_of(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}
