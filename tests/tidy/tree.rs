//! The modules of a source tree, and which file uses what of which other.
//!
//! A name that is re-exported belongs to the file that defines it: to use it is to use that file,
//! whatever it is called through. To re-export what stands below is to use nothing; to re-export
//! anything else is to use it. Importing a module uses nothing of it; what is then named through it
//! does. Importing `*` of a module uses it, and what it re-exports: the methods of its traits can
//! then be called, and no name tells.

use std::collections::{BTreeMap, BTreeSet};

use crate::read::{Child, Import, Named, Written, read};

/// Texts by path, relative to `src`, with `/` between folders.
pub(crate) type Files = BTreeMap<String, String>;

/// A file to a file it uses, and by which names.
pub(crate) type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// An item: the file that defines it, and its name.
pub(crate) type Defined = (String, String);

type ModuleId = usize;

pub(crate) struct Tree {
    modules: Vec<Module>,
}

struct Module {
    file: String,
    parent: Option<ModuleId>,
    children: BTreeMap<String, ModuleId>,
    written: Written,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Item(Defined),
    Module(ModuleId),
}

impl Target {
    fn is_module(&self) -> bool {
        matches!(self, Self::Module(_))
    }
}

/// An `impl` block: the file it stands in, and the type it is for.
pub(crate) struct ImplOf<'a> {
    pub(crate) file: &'a str,
    pub(crate) of: Defined,
    /// It implements no trait.
    pub(crate) inherent: bool,
}

/// What is being looked up: a name in a module. It guards against imports that name themselves.
type Asked = BTreeSet<(ModuleId, String)>;

impl Tree {
    /// Reads the tree whose root is `lib.rs`. Without `tests`, what is compiled for tests alone is
    /// left out.
    pub(crate) fn new(files: &Files, tests: bool) -> Self {
        let mut tree = Self { modules: vec![] };
        let root = Place {
            file: "lib.rs".to_owned(),
            folder: String::new(),
        };
        tree.add_file(files, root, None, tests);
        tree
    }

    /// Every file that belongs to the tree.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        let files = self.modules.iter().map(|module| module.file.as_str());
        files.collect()
    }

    /// What each module says, with its file.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&str, &Written)> {
        let modules = self.modules.iter();
        modules.map(|module| (module.file.as_str(), &module.written))
    }

    /// Which file uses what of which other.
    pub(crate) fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (id, module) in self.modules.iter().enumerate() {
            let mut targets = BTreeSet::new();
            for import in &module.written.imports {
                let mut imported = self.imported(id, import);
                if import.reexport {
                    imported.retain(|target| !self.is_below(target, &module.file));
                }
                targets.extend(imported);
            }
            for named in &module.written.named {
                targets.extend(self.resolve_named(id, named));
            }
            for target in targets {
                if let Target::Item((file, name)) = target
                    && file != module.file
                {
                    let edge = (module.file.clone(), file);
                    uses.entry(edge).or_default().insert(name);
                }
            }
        }
        uses
    }

    /// Every `impl` block for a type of the tree.
    pub(crate) fn impls(&self) -> Vec<ImplOf<'_>> {
        let mut impls = Vec::new();
        for (id, module) in self.modules.iter().enumerate() {
            for written in &module.written.impls {
                for of in self.types(self.resolve(id, &written.of)) {
                    impls.push(ImplOf {
                        file: &module.file,
                        of,
                        inherent: written.inherent,
                    });
                }
            }
        }
        impls
    }

    /// The items among the targets, and what they are other names for.
    fn types(&self, targets: BTreeSet<Target>) -> BTreeSet<Defined> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<Target> = targets.into_iter().collect();
        while let Some(target) = waiting.pop() {
            let Target::Item(item) = target else { continue };
            if found.contains(&item) {
                continue;
            }
            for (id, module) in self.modules.iter().enumerate() {
                for (name, path) in &module.written.aliases {
                    if (&module.file, name) == (&item.0, &item.1) {
                        waiting.extend(self.resolve(id, path));
                    }
                }
            }
            found.insert(item);
        }
        found
    }

    /// What an import of a module takes. A `*` takes the module, and all that it re-exports.
    fn imported(&self, from: ModuleId, import: &Import) -> BTreeSet<Target> {
        let mut taken = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut waiting = vec![(from, import)];
        while let Some((from, import)) = waiting.pop() {
            for target in self.resolve(from, &import.path) {
                let Target::Module(id) = target else {
                    taken.insert(target);
                    continue;
                };
                if import.glob && seen.insert(id) {
                    let module = &self.modules[id];
                    taken.insert(Target::Item((module.file.clone(), "*".to_owned())));
                    let imports = module.written.imports.iter();
                    let reexports = imports.filter(|import| import.reexport);
                    waiting.extend(reexports.map(|import| (id, import)));
                }
            }
        }
        taken
    }

    /// Whether an item stands in a module below a file.
    fn is_below(&self, target: &Target, above: &str) -> bool {
        let Target::Item((file, _)) = target else {
            return false;
        };
        self.modules.iter().any(|module| {
            let mut parent = module.parent;
            while let Some(id) = parent.filter(|id| self.modules[*id].file != above) {
                parent = self.modules[id].parent;
            }
            module.file == *file && parent.is_some()
        })
    }

    fn add_file(
        &mut self,
        files: &Files,
        place: Place,
        parent: Option<ModuleId>,
        tests: bool,
    ) -> ModuleId {
        let text = files
            .get(&place.file)
            .unwrap_or_else(|| panic!("{} is declared and is not there", place.file));
        let written = read(text, tests).unwrap_or_else(|error| {
            let line = error.span().start().line;
            panic!("{}:{line}: {error}", place.file)
        });
        self.add_module(files, &place, parent, written, tests)
    }

    fn add_module(
        &mut self,
        files: &Files,
        place: &Place,
        parent: Option<ModuleId>,
        mut written: Written,
        tests: bool,
    ) -> ModuleId {
        let id = self.modules.len();
        let declared = std::mem::take(&mut written.modules);
        self.modules.push(Module {
            file: place.file.clone(),
            parent,
            children: BTreeMap::new(),
            written,
        });
        for Child { name, path, inline } in declared {
            let child = match inline {
                Some(written) => {
                    let inside = place.inside(&name);
                    self.add_module(files, &inside, Some(id), written, tests)
                }
                None => {
                    let file = place.child(&name, path.as_deref(), files);
                    self.add_file(files, file, Some(id), tests)
                }
            };
            self.modules[id].children.insert(name, child);
        }
        id
    }

    fn resolve_named(&self, from: ModuleId, named: &Named) -> BTreeSet<Target> {
        let found = self.resolve(from, &named.path);
        if !found.is_empty() || !named.called_macro || named.path.len() > 1 {
            return found;
        }
        // A macro is known in the modules that are declared after it.
        let mut above = self.modules[from].parent;
        while let Some(id) = above {
            let module = &self.modules[id];
            if module.written.items.contains(&named.path[0]) {
                let item = (module.file.clone(), named.path[0].clone());
                return BTreeSet::from([Target::Item(item)]);
            }
            above = module.parent;
        }
        found
    }

    fn resolve(&self, from: ModuleId, path: &[String]) -> BTreeSet<Target> {
        self.resolve_asked(from, path, &mut Asked::new())
    }

    /// What a path that stands in module `from` leads to; nothing if it leads out of the tree.
    fn resolve_asked(
        &self,
        from: ModuleId,
        path: &[String],
        asked: &mut Asked,
    ) -> BTreeSet<Target> {
        let Some((first, rest)) = path.split_first() else {
            return BTreeSet::new();
        };
        let start = match first.as_str() {
            "crate" => Some(0),
            "self" => Some(from),
            "super" => self.modules[from].parent,
            _ => None,
        };
        let mut targets = match start {
            Some(module) => BTreeSet::from([Target::Module(module)]),
            None => self.look_up(from, first, asked).unwrap_or_default(),
        };
        for name in rest {
            // A function may have the name of a module, and nothing is inside of it.
            if targets.iter().any(Target::is_module) {
                targets.retain(Target::is_module);
            }
            let mut next = BTreeSet::new();
            for target in targets {
                match target {
                    // A variant, a method or a constant of it.
                    Target::Item(_) => drop(next.insert(target)),
                    Target::Module(module) => next.extend(self.member(module, name, asked)),
                }
            }
            targets = next;
        }
        targets
    }

    /// `name` of a module of the tree. What is there and was not seen was made by a macro of its
    /// file.
    fn member(&self, module: ModuleId, name: &str, asked: &mut Asked) -> BTreeSet<Target> {
        if name == "super" {
            let parent = self.modules[module].parent;
            return parent.map(Target::Module).into_iter().collect();
        }
        self.look_up(module, name, asked).unwrap_or_else(|| {
            let item = (self.modules[module].file.clone(), name.to_owned());
            BTreeSet::from([Target::Item(item)])
        })
    }

    /// What a name means in a module; `None` if it means nothing there, and nothing if it is
    /// imported from outside of the tree.
    fn look_up(&self, id: ModuleId, name: &str, asked: &mut Asked) -> Option<BTreeSet<Target>> {
        if !asked.insert((id, name.to_owned())) {
            return None;
        }
        let module = &self.modules[id];
        let mut found: Option<BTreeSet<Target>> = None;
        if let Some(child) = module.children.get(name) {
            found.get_or_insert_default().insert(Target::Module(*child));
        }
        if module.written.items.iter().any(|item| item == name) {
            let item = (module.file.clone(), name.to_owned());
            found.get_or_insert_default().insert(Target::Item(item));
        }
        for import in &module.written.imports {
            if import.name.as_deref() == Some(name) {
                let targets = self.resolve_asked(id, &import.path, asked);
                found.get_or_insert_default().extend(targets);
            }
        }
        if found.is_none() {
            found = self.look_up_in_globs(id, name, asked);
        }
        asked.remove(&(id, name.to_owned()));
        found
    }

    fn look_up_in_globs(
        &self,
        id: ModuleId,
        name: &str,
        asked: &mut Asked,
    ) -> Option<BTreeSet<Target>> {
        let globs = |import: &&Import| import.glob;
        for import in self.modules[id].written.imports.iter().filter(globs) {
            for target in self.resolve_asked(id, &import.path, asked) {
                if let Target::Module(module) = target
                    && let Some(found) = self.look_up(module, name, asked)
                {
                    return Some(found);
                }
            }
        }
        None
    }
}

/// Where a module stands.
struct Place {
    file: String,
    /// The folder of its child modules: empty, or with a `/` at its end.
    folder: String,
}

impl Place {
    /// Where an inline module of it stands.
    fn inside(&self, name: &str) -> Self {
        Self {
            file: self.file.clone(),
            folder: format!("{}{name}/", self.folder),
        }
    }

    /// Where a child module in a file of its own stands.
    fn child(&self, name: &str, path: Option<&str>, files: &Files) -> Self {
        if let Some(path) = path {
            let (folder, _) = self.file.rsplit_once('/').unwrap_or(("", ""));
            let file = format!("{folder}/{path}");
            let file = file.trim_start_matches('/').to_owned();
            let name_at = file.rfind('/').map_or(0, |slash| slash + 1);
            let folder = file[..name_at].to_owned();
            return Self { file, folder };
        }
        let folder = format!("{}{name}/", self.folder);
        let beside = format!("{}{name}.rs", self.folder);
        let file = match files.contains_key(&beside) {
            true => beside,
            false => format!("{folder}mod.rs"),
        };
        Self { file, folder }
    }
}
