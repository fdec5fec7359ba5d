"use strict";

window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  presets: [window.SwaggerUIBundle.presets.apis],
  tryItOutEnabled: true,
  // The default sends the description's address to a validator on another host.
  validatorUrl: null,
});
