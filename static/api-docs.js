"use strict";

// The page of the API: Swagger UI on our own document, with the CSRF token that a session's writes need.
(() => {
  const page = document.getElementById("api-docs");

  const csrfToken = () => {
    const cookie = document.cookie.split("; ").find((entry) => entry.startsWith("csrftoken="));
    return cookie ? decodeURIComponent(cookie.split("=")[1]) : "";
  };

  window.SwaggerUIBundle({
    url: page.dataset.schema,
    domNode: page,
    deepLinking: true,
    docExpansion: "none",
    validatorUrl: null,
    requestInterceptor: (request) => {
      const token = csrfToken();
      if (token && new URL(request.url, window.location.href).origin === window.location.origin) {
        request.headers["X-CSRFToken"] = token;
      }
      return request;
    },
  });
})();
