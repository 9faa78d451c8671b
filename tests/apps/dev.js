// A dev server for tests: prints what Next.js 15 prints, compiles at the first request, answers.
// Knobs, from the environment: COMPILE_MS, STATUS, READY (the ready line, or "none"), LISTEN_MS, EXIT_CODE, EXIT_MS,
// REDIRECT (a path that / leads to), PRINT (a line for the start), IGNORE_TERM.
const http = require("http");
const env = process.env;
const compileMs = Number(env.COMPILE_MS || 200);
const say = (line) => process.stdout.write(line + "\n");

if (env.PRINT) say(env.PRINT);
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
        done();
      }, compileMs);
    });
    return compiled;
  };
  let requests = 0;
  const server = http.createServer(async (request, response) => {
    if (request.url === "/requests") return response.end(String(requests));
    requests += 1;
    if (env.REDIRECT && request.url === "/") {
      response.writeHead(307, { location: env.REDIRECT.replace("ORIGIN", `http://${request.headers.host}`) });
      return response.end();
    }
    await compile();
    response.statusCode = Number(env.STATUS || 200);
    response.end(`<title>${request.headers.host}</title>`);
  });
  setTimeout(() => {
    server.listen(Number(env.PORT), "0.0.0.0", () => {
      if (env.READY !== "none") say(env.READY || " ✓ Ready in 879ms");
    });
  }, Number(env.LISTEN_MS || 0));
}
