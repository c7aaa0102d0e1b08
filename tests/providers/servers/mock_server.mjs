// oauth2-mock-server: node mock_server.mjs PORT REDIRECT_URI
// It knows one user, asks nobody, and honours every token. Who comes, and whether they consent, is said by headers;
// what it gave to whom, and what has ended, is kept here and told by its events.
import { createServer } from "node:http";
import { OAuth2Issuer, OAuth2Service } from "oauth2-mock-server";

const [port] = process.argv.slice(2);
const issuer = new OAuth2Issuer();
const service = new OAuth2Service(issuer);
const owners = new Map(); // of codes and refresh tokens

const ownerOf = ({ body }) => owners.get(body?.code ?? body?.refresh_token);

service.on("beforeAuthorizeRedirect", ({ url }, request) => {
  if (request.headers["x-answer"] === "deny") {
    url.searchParams.delete("code");
    url.searchParams.set("error", "access_denied");
    return;
  }
  owners.set(url.searchParams.get("code"), request.headers["x-user"]);
});
service.on("beforeTokenSigning", ({ payload }, request) => {
  payload.sub = ownerOf(request) ?? "nobody";
  payload.jti = crypto.randomUUID();
});
service.on("beforeResponse", (answer, request) => {
  const owner = ownerOf(request);
  if (!owner) {
    answer.statusCode = 400;
    answer.body = { error: "invalid_grant" };
    return;
  }
  owners.delete(request.body.code ?? request.body.refresh_token);
  owners.set(answer.body.refresh_token, owner);
});
service.on("beforeRevoke", (_, request) => {
  owners.delete(request.body.token);
});
service.on("beforeUserinfo", (answer, request) => {
  const [, payload] = (request.headers.authorization ?? "").split(".");
  answer.body = { sub: JSON.parse(Buffer.from(payload, "base64url")).sub };
});
issuer.url = `http://127.0.0.1:${port}`;
await issuer.keys.generate("RS256");
createServer(async (request, response) => {
  if (request.url === "/revoke") {
    // It does not read what it is to revoke.
    let text = "";
    for await (const chunk of request) text += chunk;
    request.body = Object.fromEntries(new URLSearchParams(text));
  }
  service.requestHandler(request, response);
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
