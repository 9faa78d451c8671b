// A dev server for tests: prints what Next.js 15 prints, compiles at the first request, answers.
// Knobs, from the environment: COMPILE_MS, STATUS, READY (the ready line, or "none"), LISTEN_MS, EXIT_CODE, EXIT_MS,
// REDIRECT (a path that / leads to), PRINT (a line for the start), PRINT_FILE (a file to print at the start),
// IGNORE_TERM, ERROR ("1": in place of the success line, "late": 2 ms after it), HOST (where to listen), ALLOWED (the
// one host name that is not refused), PAGE (a file: the page does not compile while it says BROKEN), QUIET (says
// nothing of what is asked).
// A POST changes what it does, and is not counted among the requests: /say and /say-err print the body, /status/<code>
// sets what the path in the body is answered with, /exit/<code> ends it.
const fs = require("fs");
const http = require("http");
const env = process.env;
const compileMs = Number(env.COMPILE_MS || 200);
const say = (line) => process.stdout.write(line + "\n");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const ERROR = " ⨯ ./app/page.js\nError: Expected '>', got ';'\n";

if (env.PRINT) say(env.PRINT);
if (env.PRINT_FILE) process.stdout.write(fs.readFileSync(env.PRINT_FILE));
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
      if (env.ERROR === "1") return process.stderr.write(ERROR);
      if (!env.QUIET) say(` ✓ Compiled / in ${compileMs}ms (529 modules)`);
      if (env.ERROR !== "late") return;
      await sleep(2);
      process.stderr.write(ERROR);
    })();
    return compiled;
  };
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
    if (what === "exit") setTimeout(() => process.exit(Number(value)), 50);
  };
  const server = http.createServer(async (request, response) => {
    if (request.method === "POST") return control(request, response);
    if (request.url === "/requests") return response.end(String(requests));
    requests += 1;
    if (env.ALLOWED && request.headers.host.split(":")[0] !== env.ALLOWED) {
      response.statusCode = 403;
      return response.end(`Blocked request. This host ("${request.headers.host}") is not allowed.`);
    }
    if (env.REDIRECT && request.url === "/") {
      response.writeHead(307, { location: env.REDIRECT.replace("ORIGIN", `http://${request.headers.host}`) });
      return response.end();
    }
    await compile();
    response.statusCode = statuses[request.url] ?? 200;
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
