// Pages that attack the browser that looks at them. TARGET: a service beside the agent that they must not reach.
const http = require("http");
const target = process.env.TARGET;
const pages = {
  "/": "<h1>Hello</h1>",
  "/empty": "",
  "/attack": `<h1>Attack</h1>
    <img src="http://${target}/img"><img src="/redirect">
    <iframe src="http://${target}/frame"></iframe><iframe src="file:///etc/passwd"></iframe>
    <link rel="preconnect" href="http://${target}"><link rel="prefetch" href="http://${target}/prefetch">
    <script>
      fetch("http://${target}/fetch", { mode: "no-cors" }).catch(() => {});
      fetch("/redirect", { mode: "no-cors" }).catch(() => {});
      try { new WebSocket("ws://${target}/socket"); } catch {}
      navigator.sendBeacon("http://${target}/beacon", "x");
      open("http://${target}/window");
      new Worker("data:text/javascript," + encodeURIComponent('fetch("http://${target}/worker", { mode: "no-cors" })'));
    </script>`,
  "/dialogs": "<h1>Dialogs</h1><script>alert(1); confirm(2); prompt(3); onbeforeunload = () => 'stay';</script>",
  "/loop": "<h1>Loop</h1><script>setTimeout(() => { for (;;); }, 50);</script>",
  "/away": `<script>location = "http://${target}/away";</script>`,
  "/noise": "<h1>Noise</h1><script>for (let n = 0; n < 10000; n++) console.error('x'.repeat(5000), n % 50);</script>",
};
http
  .createServer((request, response) => {
    const headers = { "content-type": "text/html" };
    if (request.url === "/redirect") response.writeHead(302, { location: `http://${target}/redirected` });
    else if (request.url === "/download")
      response.writeHead(200, { "content-disposition": "attachment; filename=x" });
    else response.writeHead(request.url in pages ? 200 : 404, headers);
    response.end(pages[request.url] ?? "");
  })
  .listen(3000, "0.0.0.0", () => console.log(" ✓ Ready in 1ms"));
