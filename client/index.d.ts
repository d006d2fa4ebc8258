/** What a mint answers: the MintHandler of wsticket, or anything else that mints. */
export interface MintedTicket {
  /** The ticket. It is good for one attempt. */
  ticket: string;
  /** Seconds that it lives from its minting on. 10 where it is not given. */
  expires_in?: number | undefined;
  /** Where this ticket is to be shown, if not at `url`; it may be relative to that. */
  url?: string | undefined;
}

/** What getTicket is told of the attempt that it mints for. */
export interface MintRequest {
  /** 1 for the first mint of this socket, and one more for each that follows. */
  attempt: number;
  /** Aborted when the attempt has ended, one way or another. */
  signal: AbortSignal;
}

/**
 * Mints one ticket. It may resolve to the ticket or to the Response of a fetch. Where it
 * fails, a `status` and a `retryAfter` (seconds, or an HTTP date) of what it throws are
 * heeded, or those of its `response`, as axios and ky have it.
 */
export type GetTicket = (request: MintRequest) => MintedTicket | Response | PromiseLike<MintedTicket | Response>;

/** A constructor such as the global WebSocket, or that of npm's ws. */
export type WebSocketConstructor = new (url: string, protocols?: string[]) => any;

interface CommonOptions {
  /** Where to connect: ws, wss, http or https, absolute or, in a page, relative to it. Without fragment, and without a ticket. */
  url: string | URL;
  /** Subprotocols of the application. Where there are some, the ticket goes as one more, else in the query. */
  protocols?: string | readonly string[] | undefined;
  /** "query" sends the ticket in the query in any case, as a balancer needs it that routes by the ticket. */
  carrier?: "query" | undefined;
  /** Closes the socket when it is aborted. */
  signal?: AbortSignal | undefined;
  /**
   * Renews the session in band: sends the ticket over the open socket, in words of the
   * application, and resolves when the server has taken it. Without it a second socket
   * takes over before the session ends.
   */
  renew?: ((minted: MintedTicket, socket: TicketSocket) => PromiseLike<unknown>) | undefined;
  /** Messages that send() keeps while the socket is not open. 0, the default, keeps none: send() throws. */
  buffer?: number | undefined;
  /** Needed where there is no global WebSocket: Node before 22. */
  WebSocket?: WebSocketConstructor | undefined;
  /** Milliseconds that a mint may take, and a handshake. 10,000. */
  timeout?: number | undefined;
  /** Milliseconds of the first slot: the first retry comes at any moment of it. 2,000. */
  baseDelay?: number | undefined;
  /** Milliseconds of the longest slot. Each is a quarter longer than the one before. 30,000. */
  maxDelay?: number | undefined;
  /** Milliseconds open after which the backoff begins anew, as it does with a message. 10,000. */
  stableAfter?: number | undefined;
  /** Attempts in a row that end in the same way, with no reason to hope, before the socket gives up. 30: about ten minutes. */
  giveUpAfter?: number | undefined;
}

export type ConnectOptions = CommonOptions & (
  /** Gets a POST, with cookies, for each attempt, and answers as the MintHandler does. */
  | { ticketUrl: string | URL; getTicket?: undefined }
  /** Mints a ticket for each attempt. */
  | { getTicket: GetTicket; ticketUrl?: undefined }
);

/** The socket is open. */
export interface OpenEvent extends Event {
  /** Mints so far. */
  readonly attempt: number;
  /** It took over from one whose session was about to end: to the server it is a new connection. */
  readonly renewed: boolean;
}

/** How an attempt or a connection ended. None of it holds the ticket. */
export interface EndEvent extends Event {
  /** Mints so far. */
  readonly attempt: number;
  /** The close code; 1006 where there was none to see. */
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
  /** Whether the socket had opened. */
  readonly opened?: boolean;
  /** The HTTP status of the mint, 0 for no answer; that of a handshake, where the runtime tells it. */
  readonly status?: number;
  /** What getTicket threw, or what is wrong with its answer. */
  readonly error?: unknown;
  /** How many ended in this way in a row. */
  readonly failures?: number;
  /**
   * Milliseconds until the next attempt. A `close` without it is the last event. A
   * `mintfailed` has none while a connection is open: it was to be renewed, and goes on.
   */
  readonly retryIn?: number;
}

export interface TicketSocketEventMap {
  open: OpenEvent;
  message: MessageEvent;
  /** An attempt to connect failed. A `close` follows. */
  error: Event;
  /** A connection or an attempt has ended; the last one has no `retryIn`. */
  close: EndEvent;
  /** A mint failed. No `close` follows, unless it was the end. */
  mintfailed: EndEvent;
  /** The mint answered 401 twice: log in. A last `close` follows. */
  unauthorized: EndEvent;
  /** The mint answered 403, or the gateway closed with 3003. A last `close` follows. */
  forbidden: EndEvent;
  /** Another attempt would end as those before did. A last `close` follows. */
  gaveup: EndEvent;
}

type Handlers = { [T in keyof TicketSocketEventMap as `on${T}`]?: ((event: TicketSocketEventMap[T]) => unknown) | null | undefined };

// Of the names of a page only those are used here that the types of Node have too.
type AnyListener = ((event: Event) => void) | { handleEvent(event: Event): void };

/** A WebSocket over one connection after the other. */
export interface TicketSocket extends EventTarget, Handlers {
  /** 1 while open; 0 before, and between two connections; 2 after close(); 3 for good. */
  readonly readyState: 0 | 1 | 2 | 3;
  /** The url of the options, absolute, without a ticket. */
  readonly url: string;
  /** The subprotocol that the server selected. */
  readonly protocol: string;
  readonly bufferedAmount: number;
  binaryType: "blob" | "arraybuffer";
  /** Sends, or throws an InvalidStateError where the socket is not open and `buffer` has no room. */
  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void;
  /** Ends the socket, and whatever attempt is under way. A last `close` follows. */
  close(code?: number, reason?: string): void;

  addEventListener<T extends keyof TicketSocketEventMap>(
    type: T, listener: (this: TicketSocket, event: TicketSocketEventMap[T]) => unknown, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: AnyListener | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<T extends keyof TicketSocketEventMap>(
    type: T, listener: (this: TicketSocket, event: TicketSocketEventMap[T]) => unknown, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: AnyListener | null, options?: boolean | EventListenerOptions): void;
}

/**
 * Connects to a gateway, and again for as long as it makes sense, with a new ticket for
 * each attempt. It returns at once; the first mint begins in a microtask. Options that
 * cannot work are a TypeError that names them all.
 */
export function connect(options: ConnectOptions): TicketSocket;
