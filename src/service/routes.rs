//! Which routes a project has, by the names of its files. Pure.

use crate::preview::CompileError;

/// Whether a route has a part that stands for anything, so that no request can be made of it.
pub(super) fn is_dynamic(route: &str) -> bool {
    route.split('/').any(|part| part.contains(['[', '$', '*', ':']))
}

/// Of which routes a file is a part.
enum Owner {
    /// The page or the handler of this one.
    Page(String),
    /// A layout, of this one and those below it.
    Below(String),
}

impl Owner {
    fn has(&self, route: &str) -> bool {
        match self {
            Self::Page(path) => path == route,
            Self::Below(path) => path == "/" || route == path || route.starts_with(&format!("{path}/")),
        }
    }
}

/// For each of these routes whether it compiles: no if an error stands in its page or around that; yes if every error stands
/// in another one's; None where an error stands in a file that any of them may use.
pub(super) fn compiled(routes: &[String], errors: &[CompileError], is_next: bool) -> Vec<Option<bool>> {
    let owners: Vec<_> =
        errors.iter().map(|error| error.file.as_deref().and_then(|file| owner_of(file, is_next))).collect();
    let told = |route: &String| {
        if owners.iter().flatten().any(|owner| owner.has(route)) {
            Some(false)
        } else {
            owners.iter().all(Option::is_some).then_some(true)
        }
    };
    routes.iter().map(told).collect()
}

/// The routes by the project's files, in order. What a tool makes of a folder only by its configuration is not guessed.
pub(super) fn known<'a>(files: impl Iterator<Item = &'a str>, is_next: bool) -> Vec<String> {
    let files: Vec<_> = files.collect();
    // With such a file the routes stand in it, and not in the folder's names.
    let configured = files.iter().any(|file| file.starts_with("app/routes."));
    let mut routes: Vec<_> = files.iter().filter_map(|file| page_of(file, is_next, configured)).collect();
    routes.push("/".to_owned());
    routes.sort();
    routes.dedup();
    routes
}

fn page_of(file: &str, is_next: bool, configured: bool) -> Option<String> {
    let (below, extension) = file.rsplit_once('.')?;
    let inside = below.strip_prefix("src/").unwrap_or(below);
    match extension {
        "tsx" | "ts" | "jsx" | "js" | "mdx" if is_next => {
            if let Some(page) = inside.strip_prefix("app/") {
                return page.strip_suffix("page").filter(|folder| is_folder(folder)).and_then(folders);
            }
            let page = inside.strip_prefix("pages/")?;
            let is_special = page.starts_with("api/") || page.starts_with('_') || page == "api";
            (!is_special).then(|| path_of(page))
        }
        "svelte" => {
            let page = below.strip_prefix("src/routes/")?;
            page.strip_suffix("+page").filter(|folder| is_folder(folder)).and_then(folders)
        }
        "vue" => below.strip_prefix("pages/").or_else(|| below.strip_prefix("app/pages/")).map(path_of),
        "astro" | "md" | "mdx" | "html" => {
            let page = below.strip_prefix("src/pages/")?;
            let is_private = page.split('/').any(|part| part.starts_with('_'));
            (!is_private).then(|| path_of(page))
        }
        // React Router and Remix: folders of a flat route are written as dots.
        "tsx" | "jsx" if !configured && !is_next => {
            let page = below.strip_prefix("app/routes/")?;
            if page.contains('/') {
                return None;
            }
            // `_auth.login`: a layout without a path of its own.
            let parts = page.split('.').filter(|part| !part.starts_with('_'));
            let path = parts.map(|part| part.trim_end_matches('_')).collect::<Vec<_>>().join("/");
            let is_layout = page.starts_with('_') && path.is_empty() && page != "_index";
            (!is_layout).then(|| format!("/{path}"))
        }
        _ => None,
    }
}

/// Whether this is all of the path of a folder: empty, or with its end.
fn is_folder(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// The route of a folder: groups in brackets have no part in it; slots, private and intercepting folders are no routes.
fn folders(folder: &str) -> Option<String> {
    let mut path = String::new();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        if part.starts_with('@') || part.starts_with('_') || part.starts_with("(.") {
            return None;
        }
        if !(part.starts_with('(') && part.ends_with(')')) {
            path = format!("{path}/{part}");
        }
    }
    Some(if path.is_empty() { "/".to_owned() } else { path })
}

/// The route of a page's file, without its extension.
fn path_of(page: &str) -> String {
    let page = if page == "index" { "" } else { page.strip_suffix("/index").unwrap_or(page) };
    format!("/{page}")
}

fn owner_of(file: &str, is_next: bool) -> Option<Owner> {
    if let Some(path) = page_of(file, is_next, false) {
        return Some(Owner::Page(path));
    }
    let (below, _) = file.rsplit_once('.')?;
    let inside = below.strip_prefix("src/").unwrap_or(below);
    let folder = inside.strip_prefix("app/").filter(|_| is_next).or_else(|| below.strip_prefix("src/routes/"))?;
    let (folder, name) = folder.rsplit_once('/').unwrap_or(("", folder));
    match name {
        "layout" | "template" | "loading" | "error" | "not-found" | "+layout" | "+layout.server" => {
            folders(folder).map(Owner::Below)
        }
        "route" | "+server" | "+page.server" => folders(folder).map(Owner::Page),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview::ErrorKind;

    fn paths(files: &[&str], is_next: bool) -> Vec<String> {
        known(files.iter().copied(), is_next)
    }

    #[test]
    fn folders_tell_the_routes() {
        let next = [
            "app/page.tsx",
            "app/layout.tsx",
            "app/(shop)/cart/page.tsx",
            "app/blog/[slug]/page.mdx",
            "app/@side/page.tsx",
            "app/_private/page.tsx",
            "app/api/x/route.ts",
            "app/homepage.tsx",
            "pages/old/index.js",
            "pages/_app.js",
            "pages/api/y.js",
        ];
        assert_eq!(paths(&next, true), ["/", "/blog/[slug]", "/cart", "/old"]);
        assert_eq!(paths(&["src/app/a/page.js"], true), ["/", "/a"]);
        let svelte = ["src/routes/+page.svelte", "src/routes/a/[id]/+page.svelte", "src/routes/+layout.svelte"];
        assert_eq!(paths(&svelte, false), ["/", "/a/[id]"]);
        assert_eq!(paths(&["app/pages/index.vue", "app/pages/about.vue", "app/app.vue"], false), ["/", "/about"]);
        assert_eq!(paths(&["src/pages/index.astro", "src/pages/a/b.md", "src/pages/_x.astro"], false), ["/", "/a/b"]);
        let remix =
            ["app/routes/_index.tsx", "app/routes/a.b.tsx", "app/routes/_auth.login.tsx", "app/routes/u.$id.tsx"];
        assert_eq!(paths(&remix, false), ["/", "/a/b", "/login", "/u/$id"]);
        assert_eq!(paths(&["app/routes.ts", "app/routes/home.tsx"], false), ["/"]);
        assert_eq!(paths(&["src/pages/About.jsx", "src/App.jsx"], false), ["/"], "a plain React app's own folder");
    }

    #[test]
    fn dynamic_parts_cannot_be_asked_for() {
        for (path, dynamic) in [("/", false), ("/a/b", false), ("/a/[id]", true), ("/u/$id", true), ("/a/*", true)] {
            assert_eq!(is_dynamic(path), dynamic, "{path}");
        }
    }

    #[test]
    fn an_error_is_of_the_routes_that_its_file_is_a_part_of() {
        let error = |file: Option<&str>| CompileError {
            file: file.map(str::to_owned),
            line: None,
            column: None,
            message: String::new(),
            kind: ErrorKind::Syntax,
            raw: String::new(),
        };
        let routes = ["/", "/a", "/a/b", "/c"].map(str::to_owned);
        let told = |files: &[Option<&str>]| {
            compiled(&routes, &files.iter().map(|file| error(*file)).collect::<Vec<_>>(), true)
        };
        assert_eq!(told(&[]), [Some(true); 4]);
        assert_eq!(told(&[Some("app/a/page.js")]), [Some(true), Some(false), Some(true), Some(true)]);
        assert_eq!(told(&[Some("app/a/layout.js")]), [Some(true), Some(false), Some(false), Some(true)]);
        assert_eq!(told(&[Some("app/layout.js")]), [Some(false); 4]);
        assert_eq!(told(&[Some("lib/x.js")]), [None; 4], "any of them may use it");
        assert_eq!(told(&[Some("lib/x.js"), Some("src/app/c/page.js")]), [None, None, None, Some(false)]);
        assert_eq!(told(&[None]), [None; 4]);
    }
}
