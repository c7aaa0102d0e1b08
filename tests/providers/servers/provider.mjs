// oidc-provider, which signs with ES256: node provider.mjs PORT REDIRECT_URI
import { generateKeyPairSync } from "node:crypto";
import * as oidc from "oidc-provider";

const [port, redirectUri] = process.argv.slice(2);
const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const provider = new oidc.Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "daybook",
      client_secret: "not-a-secret-but-long-enough-for-anybody",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: "ES256",
    },
  ],
  jwks: { keys: [{ ...key.export({ format: "jwk" }), kid: "one", alg: "ES256", use: "sig" }] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false,
  features: { revocation: { enabled: true } },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: id }),
  }),
  rotateRefreshToken: true,
  scopes: ["openid", "offline_access", "email", "profile"],
  cookies: { keys: ["not-a-secret"] },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
