// node --require ./loopback.js main.js: whatever the program asks for, its servers listen on the loopback address only.
"use strict";

const net = require("node:net");

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...given) {
  const [first] = given;
  if (first !== null && typeof first === "object") {
    // A pipe or an open handle has no host to give.
    const isAddress = "port" in first && !("path" in first || "fd" in first);
    return listen.call(this, isAddress ? { ...first, host: "127.0.0.1" } : first, ...given.slice(1));
  }
  if (typeof first === "string" && !/^\d+$/.test(first)) {
    return listen.apply(this, given); // a path
  }
  const callback = given.find((each) => typeof each === "function");
  const backlog = given.slice(1).find((each) => typeof each === "number");
  const address = { port: Number(first ?? 0), host: "127.0.0.1", ...(backlog === undefined ? {} : { backlog }) };
  return listen.call(this, address, ...(callback ? [callback] : []));
};
