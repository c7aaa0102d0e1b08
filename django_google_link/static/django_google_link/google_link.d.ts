/**
 * Return the CSRF header that Django requires with sessions: for `headers`, on the site's origin.
 *
 * @param {string} [cookie] The value of `CSRF_COOKIE_NAME`.
 * @returns {Record<string, string>}
 */
export function csrfHeaders(cookie?: string): Record<string, string>;
/** An error with a code, which does not change between versions. */
export class GoogleLinkError extends Error {
    /**
     * @param {string} error The code: of the endpoints, or of this file.
     * @param {string} detail A sentence for the user or the developer.
     * @param {number} [status] The HTTP status; 0 without a response.
     * @param {Record<string, any>} [content] The body of the response.
     */
    constructor(error: string, detail: string, status?: number, content?: Record<string, any>);
    error: string;
    status: number;
    content: Record<string, any>;
}
/** The endpoints, called for the current user. */
export class GoogleLink {
    /** @param {Options} options */
    constructor({ api, headers, credentials }: Options);
    api: string;
    headers: ((why: {
        refused: boolean;
    }) => HeadersInit | Promise<HeadersInit>) | undefined;
    /** @type {RequestCredentials} */
    credentials: RequestCredentials;
    /**
     * Return the user's linked accounts.
     *
     * @returns {Promise<Account[]>}
     */
    accounts(): Promise<Account[]>;
    /**
     * Label an account, or make it the default.
     *
     * @param {string} id
     * @param {{ label?: string, is_default?: true }} change
     * @returns {Promise<Account>}
     */
    change(id: string, change: {
        label?: string;
        is_default?: true;
    }): Promise<Account>;
    /**
     * Unlink an account, and revoke its grant at Google.
     *
     * @param {string} id
     * @returns {Promise<void>}
     */
    unlink(id: string): Promise<void>;
    /**
     * Link an account. Call it in a click handler: browsers block other popups.
     *
     * With a popup, it resolves when the popup has finished. In the same window, it does not resolve
     * on success: the app's page at the redirect URI calls `complete()`.
     *
     * @param {Wanted & Way} [options]
     * @returns {Promise<Linked>}
     * @throws {GoogleLinkError}
     */
    link({ way, ifBlocked, signal, started, ...wanted }?: Wanted & Way): Promise<Linked>;
    /**
     * Complete the link whose authorization response this page, the redirect URI, has received.
     *
     * If the link was started in the same window, it is completed here. In a popup, the response is
     * passed to the page that opened the popup, which is then closed.
     *
     * @returns {Promise<Linked | null>} `null` in a popup.
     * @throws {GoogleLinkError}
     */
    complete(): Promise<Linked | null>;
    /**
     * Start a link for Google's script, whose response is passed to `finish()`.
     *
     * @param {Wanted & { mode?: string, origin?: string }} [wanted]
     * @returns {Promise<Started>}
     */
    start({ linkRequest, redirectUri, ...wanted }?: Wanted & {
        mode?: string;
        origin?: string;
    }): Promise<Started>;
    /**
     * Complete a link that was started with `start()`.
     *
     * @param {string} ticket
     * @param {Returned} returned The authorization response.
     * @param {string} redirectUri The URL of the page, or its origin for Google's script.
     * @returns {Promise<Linked>}
     */
    finish(ticket: string, { code, state, iss, error }: Returned, redirectUri: string): Promise<Linked>;
    #private;
}
export type GrantedScope = {
    scope: string;
    description: string;
};
export type Account = {
    id: string;
    email: string;
    name: string;
    picture: string;
    label: string;
    client: string;
    granted_scopes: GrantedScope[];
    status: "active" | "needs_reauthorization";
    reason: string;
    is_default: boolean;
    linked_at: string;
    ends_at: string | null;
};
/**
 * A link that was started: the response of `POST links/`.
 */
export type Started = {
    ticket: string;
    mode: string;
    authorization_url: string | null;
    redirect_uri: string | null;
    client_id: string;
    scope: string;
    state: string | null;
    login_hint: string;
    prompt: string;
    hd: string | null;
    include_granted_scopes: boolean;
    /**
     * In seconds.
     */
    expires_in: number;
};
export type Linked = {
    account: Account;
    missing_scopes: string[];
};
/**
 * What to link: at most one of the first three.
 */
export type Wanted = {
    /**
     * From a 403 of the site, or from an error.
     */
    linkRequest?: string | undefined;
    /**
     * The id of an account to link again.
     */
    account?: string | undefined;
    /**
     * Whether to link an additional account.
     */
    add?: boolean | undefined;
    /**
     * Required if the client has several.
     */
    redirectUri?: string | undefined;
};
/**
 * How to send the user to Google.
 */
export type Way = {
    /**
     * In the same window, which is the default, or in a popup.
     */
    way?: "page" | "popup" | undefined;
    /**
     * What to do if the popup is blocked; `error` by default.
     */
    ifBlocked?: "error" | "page" | undefined;
    /**
     * Stops waiting for a popup.
     */
    signal?: AbortSignal | undefined;
    /**
     * A link to continue, such as `error.content.link`.
     */
    started?: Started | undefined;
};
export type Options = {
    /**
     * The URL of the endpoints, such as "/google/api/".
     */
    api: string;
    /**
     * Returns the headers that authenticate a request. After a 401 it is called once more, with
     * `refused`, and may fetch another token.
     */
    headers?: ((why: {
        refused: boolean;
    }) => HeadersInit | Promise<HeadersInit>) | undefined;
    /**
     * "include" for a session on another origin.
     */
    credentials?: RequestCredentials | undefined;
};
export type Returned = {
    code?: string;
    state?: string;
    iss?: string;
    error?: string;
};
export type Answer = {
    state: string;
    returned: Returned;
    redirectUri: string;
};
export type Reply = {
    state: string;
    then: "wait" | "close" | "go";
    url?: string;
};
