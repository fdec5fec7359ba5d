"use strict";

window.Redoc.init(
  "openapi.json",
  // Fonts of the visitor's system: Redoc names ones that it would expect a font host to serve.
  { theme: { typography: { fontFamily: "system-ui, sans-serif", headings: { fontFamily: "system-ui, sans-serif" } } } },
  document.getElementById("redoc"),
);
