/**
 * Return the header that Django wants with a session: for `headers`, on the site's own origin.
 *
 * @param {string} [cookie] What `CSRF_COOKIE_NAME` says.
 * @returns {Record<string, string>}
 */
export function csrfHeaders(cookie?: string): Record<string, string>;
/** What went wrong, with a word that stays as it is. */
export class GoogleLinkError extends Error {
    /**
     * @param {string} error The word: of the endpoints, or of this file.
     * @param {string} detail A sentence.
     * @param {number} [status] Of the response; 0 where there is none.
     * @param {Record<string, any>} [content] All of the response.
     */
    constructor(error: string, detail: string, status?: number, content?: Record<string, any>);
    error: string;
    status: number;
    content: Record<string, any>;
}
/** The endpoints, for one user. */
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
     * Return what the user has linked.
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
     * Unlink an account, and end its grant at Google.
     *
     * @param {string} id
     * @returns {Promise<void>}
     */
    unlink(id: string): Promise<void>;
    /**
     * Link an account. Call it where the user has just clicked: browsers block other popups.
     *
     * By popup it returns the account when the popup has come back. By the whole page it does not
     * return: the app's page at the redirect URI calls `complete()`.
     *
     * @param {Wanted & Way} [options]
     * @returns {Promise<Linked>}
     * @throws {GoogleLinkError}
     */
    link({ way, ifBlocked, signal, started, ...wanted }?: Wanted & Way): Promise<Linked>;
    /**
     * Complete what has arrived at this page, which is the redirect URI.
     *
     * What came by the whole page is completed. What came in a popup is handed to the page of the app
     * that has opened it, and the popup closes.
     *
     * @returns {Promise<Linked | null>} Nothing, in a popup.
     * @throws {GoogleLinkError}
     */
    complete(): Promise<Linked | null>;
    /**
     * Start a link by hand: for Google's script, whose answer `finish()` takes.
     *
     * @param {Wanted & { mode?: string, origin?: string }} [wanted]
     * @returns {Promise<Started>}
     */
    start({ linkRequest, redirectUri, ...wanted }?: Wanted & {
        mode?: string;
        origin?: string;
    }): Promise<Started>;
    /**
     * Complete a link that was started by hand.
     *
     * @param {string} ticket
     * @param {Returned} returned What came back.
     * @param {string} redirectUri Where: the address of the page, or its origin for Google's script.
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
 * A link that has begun: the answer of `POST links/`.
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
     * Seconds.
     */
    expires_in: number;
};
export type Linked = {
    account: Account;
    missing_scopes: string[];
};
/**
 * What is to be linked: at most one of the first three.
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
     * For a further account.
     */
    add?: boolean | undefined;
    /**
     * Where the client has several.
     */
    redirectUri?: string | undefined;
};
/**
 * How the user is sent to Google.
 */
export type Way = {
    /**
     * The whole page (if it is left out), or a popup.
     */
    way?: "page" | "popup" | undefined;
    /**
     * What a blocked popup leads to; an error, if left out.
     */
    ifBlocked?: "error" | "page" | undefined;
    /**
     * Ends the wait for a popup.
     */
    signal?: AbortSignal | undefined;
    /**
     * Goes on with this one, such as `error.content.link`.
     */
    started?: Started | undefined;
};
export type Options = {
    /**
     * Where the endpoints are mounted, such as "/google/api/".
     */
    api: string;
    /**
     * Returns what authenticates a request. After a 401 it is called once more, with `refused`, and
     * may get another token first.
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
