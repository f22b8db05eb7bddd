// Makes the container heartbeat of azurite's account: node container.js ADDRESS ACCOUNT KEY. Prints the status.
const { createHmac } = require("node:crypto");
const { request } = require("node:http");

const [address, account, key] = process.argv.slice(2);
const headers = { "content-length": "0", "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-12-02" };
// The account is in the path, and once more in what is signed.
const signed = `PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:${headers["x-ms-date"]}\nx-ms-version:${headers["x-ms-version"]}\n/${account}/${account}/heartbeat\nrestype:container`;
headers.authorization = `SharedKey ${account}:${createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest("base64")}`;
request(`${address}/${account}/heartbeat?restype=container`, { method: "PUT", headers }, (answer) => {
  console.log(answer.statusCode);
  answer.pipe(process.stderr);
}).end();
