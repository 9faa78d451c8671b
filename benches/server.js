// The app of every preview: it keeps connections, and answers with as little work as it can, so that the clients' work is
// what is seen on a small machine. `/` is the page, `/requests` tells how often that was asked for.
const net = require("net");

const answer = (body) =>
  Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
const page = answer("<title>bench</title>");
const REFUSAL = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const END = "\r\n\r\n";
let requests = 0;

const server = net.createServer((socket) => {
  let rest = "";
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (bytes) => {
    const heads = (rest + bytes.toString("latin1")).split(END);
    rest = heads.pop();
    // As every web server: our service may try TLS before it knows.
    if (rest && !rest.startsWith("GET ".slice(0, rest.length))) return socket.end(REFUSAL);
    for (const head of heads) {
      if (head.startsWith("GET /requests")) socket.write(answer(String(requests)));
      else {
        requests += 1;
        socket.write(page);
      }
    }
  });
});
server.listen(Number(process.env.PORT), "0.0.0.0", () => console.log(" ✓ Ready in 1ms"));
