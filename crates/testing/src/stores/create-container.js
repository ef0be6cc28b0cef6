// node -e THIS PORT ACCOUNT KEY CONTAINER: makes an empty container on a loopback server, by the rules of "Authorize
// with Shared Key" (Blob service, request without a body).
const [port, account, key, container] = process.argv.slice(1);
const date = new Date().toUTCString();
const signed = [
  "PUT", ...Array(11).fill(""),
  `x-ms-date:${date}`, "x-ms-version:2021-08-06",
  `/${account}/${account}/${container}`, "restype:container",
].join("\n");
const signature = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest("base64");
const headers = {
  "x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": 0,
  Authorization: `SharedKey ${account}:${signature}`,
};
const path = `/${account}/${container}?restype=container`;
require("http").request({ host: "127.0.0.1", port, method: "PUT", path, headers }, (answer) => {
  answer.resume();
  if (answer.statusCode !== 201) {
    console.error(`the server answered ${answer.statusCode} ${answer.headers["x-ms-error-code"]}`);
    process.exitCode = 1;
  }
}).end();
