import type { ConnectOptions, EndEvent, OpenEvent, TicketSocket } from "./index.js";

export type TicketSocketStatus =
  /** An attempt is under way, or the wait for one. */
  | "connecting"
  | "open"
  /** It ended for good: log in; may not; no use in trying. */
  | "unauthorized" | "forbidden" | "gaveup"
  /** Not enabled, or closed by the application. */
  | "closed";

export type TicketSocketHookOptions = ConnectOptions & {
  /** Whether there is to be a socket, as when somebody is logged in. true. */
  enabled?: boolean;
  onOpen?: (event: OpenEvent, socket: TicketSocket) => void;
  onMessage?: (event: MessageEvent, socket: TicketSocket) => void;
  onClose?: (event: EndEvent, socket: TicketSocket) => void;
};

/**
 * A socket for as long as the component is mounted. A change of url, ticketUrl,
 * protocols or enabled makes another; functions may be new in each render. Under
 * StrictMode one ticket is minted and not two.
 */
export function useTicketSocket(options: TicketSocketHookOptions): {
  /** null before the first effect has run, and on a server. */
  socket: TicketSocket | null;
  status: TicketSocketStatus;
};
