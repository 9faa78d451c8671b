// A dev server for tests: prints what Next.js 15 prints, compiles at the first request, answers.
// Knobs, from the environment: COMPILE_MS, STATUS, READY (the ready line, or "none"), LISTEN_MS, EXIT_CODE, EXIT_MS,
// REDIRECT (a path that / leads to), PRINT (a line for the start), PRINT_FILE (a file to print at the start),
// IGNORE_TERM, ERROR ("1": in place of the success line, "late": 2 ms after it), HOST (where to listen), ALLOWED (the
// one host name that is not refused), PAGE (a file: the page does not compile while it says BROKEN), QUIET (says
// nothing of what is asked), LINES_BEFORE and LINES_AFTER (so many more, before it listens and once it compiled).
// Paths: /requests (how many there were), /exit/3 (ends with code 3), /eat (takes all the memory there is), /eat-child (a
// child process does; answers when it was killed, and the page answers 500 from before that on), /hang (the page
// does not answer from now on), /heal (the page is well); as a POST /say and /say-err (print the body), /status/500 (what
// the path in the body is answered with). None of them counts as a request.
const { spawn } = require("child_process");
const fs = require("fs");
const http = require("http");
const env = process.env;
const compileMs = Number(env.COMPILE_MS || 200);
const say = (line) => process.stdout.write(line + "\n");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const ERROR = " ⨯ ./app/page.js\nError: Expected '>', got ';'\n";

const chatter = (lines) => {
  for (let line = 1; line <= Number(lines || 0); line++) say(`line ${line} of some library that talks a lot`);
};

if (env.PRINT) say(env.PRINT);
if (env.PRINT_FILE) process.stdout.write(fs.readFileSync(env.PRINT_FILE));
chatter(env.LINES_BEFORE);
if (env.IGNORE_TERM) process.on("SIGTERM", () => {});
if (env.EXIT_CODE) {
  setTimeout(() => {
    if (!env.PRINT_FILE) process.stderr.write("Error: it did not work\n");
    process.exit(Number(env.EXIT_CODE));
  }, Number(env.EXIT_MS || 0));
} else {
  let compiled = null;
  const compile = () => {
    compiled ??= (async () => {
      if (!env.QUIET) say(" ○ Compiling / ...");
      await sleep(compileMs);
      if (env.ERROR === "1") process.stderr.write(ERROR);
      else if (!env.QUIET) say(` ✓ Compiled / in ${compileMs}ms (529 modules)`);
      chatter(env.LINES_AFTER);
      if (env.ERROR !== "late") return;
      await sleep(2);
      process.stderr.write(ERROR);
    })();
    return compiled;
  };
  const eat = () => {
    for (const held = []; ; ) held.push(Buffer.alloc(1 << 22, 1));
  };
  const eatChild = (done) => {
    // The first choice of the kernel, whatever else is in the container.
    const script = `require("fs").writeFileSync("/proc/self/oom_score_adj", "1000");(${eat})()`;
    spawn(process.execPath, ["-e", script]).on("exit", (code, signal) => done(signal));
  };
  let sick = false;
  let hangs = false;
  let requests = 0;
  const statuses = { "/": Number(env.STATUS || 200) };
  const control = async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const [, what, value] = request.url.split("/");
    if (what === "say") process.stdout.write(body);
    if (what === "say-err") process.stderr.write(body);
    if (what === "status") statuses[body] = Number(value);
    response.end();
  };
  const server = http.createServer(async (request, response) => {
    if (request.url === "/requests") return response.end(String(requests));
    if (request.url === "/eat") return response.end("", () => setImmediate(eat));
    if (request.url.startsWith("/exit/")) {
      const code = Number(request.url.split("/")[2]);
      return response.end("", () => setImmediate(() => process.exit(code)));
    }
    if (request.url === "/eat-child") {
      sick = true;
      return eatChild((signal) => response.end(signal));
    }
    if (request.url === "/hang") {
      hangs = true;
      return response.end();
    }
    if (request.url === "/heal") {
      sick = hangs = false;
      return response.end();
    }
    if (request.method === "POST") return control(request, response);
    requests += 1;
    if (env.ALLOWED && request.headers.host.split(":")[0] !== env.ALLOWED) {
      response.statusCode = 403;
      return response.end(`Blocked request. This host ("${request.headers.host}") is not allowed.`);
    }
    if (env.REDIRECT && request.url === "/") {
      response.writeHead(307, { location: env.REDIRECT.replace("ORIGIN", `http://${request.headers.host}`) });
      return response.end();
    }
    if (hangs) return;
    await compile();
    response.statusCode = sick ? 500 : (statuses[request.url] ?? 200);
    if (env.PAGE && fs.readFileSync(env.PAGE, "utf8").includes("BROKEN")) {
      process.stderr.write(ERROR);
      response.statusCode = 500;
    }
    response.end(`<title>${request.headers.host}</title>`);
  });
  setTimeout(() => {
    server.listen(Number(env.PORT), env.HOST || "0.0.0.0", () => {
      if (env.READY !== "none") say(env.READY || " ✓ Ready in 879ms");
    });
  }, Number(env.LISTEN_MS || 0));
}
