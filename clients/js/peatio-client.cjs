// For programs that use require().
module.exports = require("./peatio-client.mjs");
