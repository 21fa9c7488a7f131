// Portkey's gateway has no option for a host, and would listen on every interface.
const net = require("node:net");

const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (...given) {
  const port = typeof given[0] === "object" ? given[0].port : given[0];
  const callback = given.find((one) => typeof one === "function");
  return listen.call(this, { port, host: "127.0.0.1" }, callback);
};
