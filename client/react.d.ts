import type { ConnectOptions, EndEvent, OpenEvent, TicketSocket } from "./index.js";

export type TicketSocketStatus =
  /** An attempt is under way, or the wait for one. */
  | "connecting"
  | "open"
  /** It ended for good: log in; may not; no use in trying. */
  | "unauthorized" | "forbidden" | "gaveup"
  /** Not enabled, closed by the application, or not begun: before the first effect, and on a server. */
  | "closed";

export type TicketSocketHookOptions = ConnectOptions & {
  /** Whether there is to be a socket, as when somebody is logged in. true. */
  enabled?: boolean | undefined;
  onOpen?: ((event: OpenEvent, socket: TicketSocket) => void) | undefined;
  onMessage?: ((event: MessageEvent, socket: TicketSocket) => void) | undefined;
  onClose?: ((event: EndEvent, socket: TicketSocket) => void) | undefined;
};

/**
 * A socket for as long as the component is mounted. A change of url, ticketUrl,
 * protocols or enabled makes another; functions may be new in each render. They hear of
 * the socket in use: the close of one that the hook itself ended is not told. Under
 * StrictMode one ticket is minted and not two.
 */
export function useTicketSocket(options: TicketSocketHookOptions): {
  /** null before the first effect has run, and on a server. */
  socket: TicketSocket | null;
  status: TicketSocketStatus;
};
