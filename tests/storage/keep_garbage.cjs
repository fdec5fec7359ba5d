// Loaded before Azurite: makes its first collection of garbage come after weeks. It has no option for
// that, begins after ten minutes, and then answers nothing for as long as it takes: seconds to minutes,
// growing with the square of what was overwritten, appended and deleted.
const { createRequire } = require("node:module");
const constants = createRequire(process.argv[1])("./utils/constants.js");
const LONGEST_TIMER_MS = 2 ** 31 - 1;

if (constants.DEFAULT_GC_INTERVAL_MS === undefined) {
  throw new Error("This version of Azurite keeps the interval of its garbage collection elsewhere.");
}
constants.DEFAULT_GC_INTERVAL_MS = LONGEST_TIMER_MS;
