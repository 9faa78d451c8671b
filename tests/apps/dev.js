// A dev server for tests: prints what Next.js 15 prints, compiles at the first request, answers.
// Knobs, from the environment: COMPILE_MS, STATUS, READY (the ready line, or "none"), LISTEN_MS, EXIT_CODE, EXIT_MS,
// REDIRECT (a path that / leads to), PRINT (a line for the start), IGNORE_TERM,
// LINES_BEFORE and LINES_AFTER (so many more, before it listens and once it compiled).
// Paths: /requests (how many there were), /exit/3 (ends with code 3), /eat (takes all the memory there is), /eat-child (a
// child process does; answers when it was killed, and the page answers 500 from before that on), /hang (the page
// does not answer from now on), /heal (the page is well).
const { spawn } = require("child_process");
const http = require("http");
const env = process.env;
const compileMs = Number(env.COMPILE_MS || 200);
const say = (line) => process.stdout.write(line + "\n");

const chatter = (lines) => {
  for (let line = 1; line <= Number(lines || 0); line++) say(`line ${line} of some library that talks a lot`);
};

if (env.PRINT) say(env.PRINT);
chatter(env.LINES_BEFORE);
if (env.IGNORE_TERM) process.on("SIGTERM", () => {});
if (env.EXIT_CODE) {
  setTimeout(() => {
    process.stderr.write("Error: it did not work\n");
    process.exit(Number(env.EXIT_CODE));
  }, Number(env.EXIT_MS || 0));
} else {
  let compiled = null;
  const compile = () => {
    compiled ??= new Promise((done) => {
      say(" ○ Compiling / ...");
      setTimeout(() => {
        if (env.ERROR) process.stderr.write(" ⨯ ./app/page.js\nError: Expected '>', got ';'\n");
        else say(` ✓ Compiled / in ${compileMs}ms (529 modules)`);
        chatter(env.LINES_AFTER);
        done();
      }, compileMs);
    });
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
    requests += 1;
    if (env.REDIRECT && request.url === "/") {
      response.writeHead(307, { location: env.REDIRECT.replace("ORIGIN", `http://${request.headers.host}`) });
      return response.end();
    }
    if (hangs) return;
    await compile();
    response.statusCode = sick ? 500 : Number(env.STATUS || 200);
    response.end(`<title>${request.headers.host}</title>`);
  });
  setTimeout(() => {
    server.listen(Number(env.PORT), "0.0.0.0", () => {
      if (env.READY !== "none") say(env.READY || " ✓ Ready in 879ms");
    });
  }, Number(env.LISTEN_MS || 0));
}
