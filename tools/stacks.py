#!/usr/bin/env python3
"""Tiny apps of many stacks as project folders: each has a page that can be broken at a known place, and fixed.

    python3 tools/stacks.py [NAME ...]    installs their packages ahead

Versions are pinned, and those of their dependencies are of one day (tools/npm.py).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import npm


@dataclass(frozen=True)
class Stack:
    """An app, and how its page breaks.

    Attributes:
        packages: Its dependencies and their versions.
        dev: What `npm run dev` runs: a server on port 3000 of every address.
        files: Its files, the page among them.
        page: The page's file.
        good: A piece of the page.
        bad: What replaces that piece to break the page.
        line: The line on which it breaks.
        module: Whether package.json says that its files are modules.
        extra: Further fields of package.json.
    """

    packages: Mapping[str, str]
    dev: str
    files: Mapping[str, str]
    page: str
    good: str = "</h1>"
    bad: str = "</h1"
    line: int = 2
    module: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)

    def package(self) -> str:
        """The text of package.json."""
        content = {
            "name": "stack",
            "private": True,
            **({"type": "module"} if self.module else {}),
            "scripts": {"dev": self.dev},
            "dependencies": dict(self.packages),
            **self.extra,
        }
        return json.dumps(content, indent=2)

    def broken(self) -> str:
        """The page's text, broken."""
        assert self.good in self.files[self.page]
        return self.files[self.page].replace(self.good, self.bad)


PAGE = "export default function Page() {\n  return <h1>Hello</h1>;\n}\n"
LAYOUT = "export default ({ children }) => <html lang='en'><body>{children}</body></html>;\n"
REACT_17 = {"react": "17.0.2", "react-dom": "17.0.2"}
REACT_18 = {"react": "18.3.1", "react-dom": "18.3.1"}
REACT_19 = {"react": "19.2.0", "react-dom": "19.2.0"}
ENTRY = (
    "import { createRoot } from 'react-dom/client';\nimport App from './App';\n"
    "createRoot(document.getElementById('root')).render(<App />);\n"
)


def _pages(version: str, react: Mapping[str, str], before: str = "") -> Stack:
    """Next.js with a pages folder."""
    return Stack({"next": version, **react}, f"{before}next dev -H 0.0.0.0", {"pages/index.js": PAGE}, "pages/index.js")


def _app(version: str, react: Mapping[str, str], options: str = "") -> Stack:
    """Next.js with an app folder."""
    files = {"app/page.js": PAGE, "app/layout.js": LAYOUT}
    return Stack({"next": version, **react}, f"next dev -H 0.0.0.0{options}", files, "app/page.js")


def _vite(version: str, plugin: str) -> Stack:
    """React on Vite: the page is what the browser asks for after the document."""
    document = "<!doctype html><title>Hello</title><div id=root></div><script type=module src=/src/main.jsx></script>\n"
    config = "import react from '@vitejs/plugin-react';\nexport default { plugins: [react()] };\n"
    return Stack(
        {"vite": version, "@vitejs/plugin-react": plugin, **REACT_19},
        "vite --host 0.0.0.0 --port 3000",
        {"index.html": document, "vite.config.js": config, "src/main.jsx": ENTRY, "src/App.jsx": PAGE},
        "src/App.jsx",
        module=True,
    )


STACKS = {
    "next11": _pages("11.1.4", REACT_17, "NODE_OPTIONS=--openssl-legacy-provider "),
    "next12": _pages("12.3.7", REACT_18),
    "next13.4": _app("13.4.19", REACT_18),
    "next13": _app("13.5.7", REACT_18),
    "next14": _app("14.2.35", REACT_18),
    "next15": _app("15.5.29", REACT_19),
    "next15-turbopack": _app("15.5.29", REACT_19, " --turbopack"),
    "next16": _app("16.4.6", REACT_19),
    "next16-webpack": _app("16.4.6", REACT_19, " --webpack"),
    "vite5": _vite("5.4.21", "4.7.0"),
    "vite6": _vite("6.4.6", "4.7.0"),
    "vite7": _vite("7.3.8", "5.2.0"),
    "vite8": _vite("8.3.8", "6.3.0"),
    "sveltekit": Stack(
        {"@sveltejs/kit": "2.70.4", "@sveltejs/vite-plugin-svelte": "6.2.1", "svelte": "5.57.3", "vite": "7.3.8"},
        "vite dev --host 0.0.0.0 --port 3000",
        {
            "vite.config.js": "import { sveltekit } from '@sveltejs/kit/vite';\n"
            "export default { plugins: [sveltekit()] };\n",
            "svelte.config.js": "export default {};\n",
            "src/app.html": "<!doctype html><head>%sveltekit.head%</head><body>%sveltekit.body%</body>\n",
            "src/routes/+page.svelte": "<script>\n  let word = 'Hello';\n</script>\n<h1>{word}</h1>\n",
        },
        "src/routes/+page.svelte",
        "= 'Hello'",
        "= ",
        module=True,
    ),
    "react-router": Stack(
        {
            "react-router": "7.18.0",
            "@react-router/dev": "7.18.0",
            "@react-router/node": "7.18.0",
            "@react-router/serve": "7.18.0",
            "isbot": "5.1.31",
            "vite": "7.3.8",
            **REACT_19,
        },
        "react-router dev --host 0.0.0.0 --port 3000",
        {
            "vite.config.js": "import { reactRouter } from '@react-router/dev/vite';\n"
            "export default { plugins: [reactRouter()] };\n",
            "app/root.jsx": "import { Outlet, Scripts } from 'react-router';\n"
            "export default () => <html lang='en'><body><Outlet /><Scripts /></body></html>;\n",
            "app/routes.js": "import { index } from '@react-router/dev/routes';\nexport default [index('home.jsx')];\n",
            "app/home.jsx": PAGE,
        },
        "app/home.jsx",
        module=True,
    ),
    "astro": Stack(
        {"astro": "5.18.2"},
        "astro dev --host 0.0.0.0 --port 3000",
        {
            "astro.config.mjs": "export default { devToolbar: { enabled: false } };\n",
            "src/pages/index.astro": "---\nconst word = 'Hello';\n---\n<h1>{word}</h1>\n",
        },
        "src/pages/index.astro",
        "= 'Hello'",
        "= ",
        module=True,
    ),
    "nuxt": Stack(
        {"nuxt": "3.21.11"},
        "nuxt dev --host 0.0.0.0 --port 3000",
        {
            "nuxt.config.js": "export default { telemetry: false, devtools: { enabled: false } };\n",
            "app.vue": "<script setup>\nconst word = 'Hello';\n</script>\n<template><h1>{{ word }}</h1></template>\n",
        },
        "app.vue",
        "= 'Hello'",
        "= ",
        module=True,
    ),
    "cra": Stack(
        {"react-scripts": "5.0.1", **REACT_18},
        # The browser connects to the port that it sees, not to the one inside the container.
        "WDS_SOCKET_PORT=0 react-scripts start",
        {
            "public/index.html": "<!doctype html><title>Hello</title><div id=root></div>\n",
            "src/index.js": ENTRY,
            "src/App.js": PAGE,
        },
        "src/App.js",
        extra={"browserslist": ["last 1 chrome version"]},
    ),
}


def copy(name: str, project: Path) -> Stack:
    """Copies the app of this name into a project's folder; the folder's old contents are removed."""
    stack = STACKS[name]
    shutil.rmtree(project, ignore_errors=True)
    for file, text in {**stack.files, "package.json": stack.package()}.items():
        path = project / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    npm.link(npm.installed(f"stack-{name}", {"package.json": stack.package()}), project)
    return stack


def main() -> None:
    """Installs."""
    for name in sys.argv[1:] or STACKS:
        npm.installed(f"stack-{name}", {"package.json": STACKS[name].package()})
        print(name, flush=True)


if __name__ == "__main__":
    main()
