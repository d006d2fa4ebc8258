/* @ts-self-types="./react.d.ts" */

import { useEffect, useRef, useState } from "react";
import { connect } from "./index.js";

const ENDS = ["unauthorized", "forbidden", "gaveup"];

// One socket for as long as the component is mounted and url, ticketUrl, protocols and
// enabled are the same. Functions may be new in each render: the newest is called.
export function useTicketSocket({ enabled = true, onOpen, onMessage, onClose, ...options }) {
  const [view, setView] = useState({ socket: null, status: "closed" });
  const newest = useRef();
  useEffect(() => { newest.current = { ...options, onOpen, onMessage, onClose }; });

  useEffect(() => {
    if (!enabled) return;
    const given = newest.current;
    const passOn = (name) => given[name] && ((...args) => newest.current[name](...args));
    // StrictMode ends this effect at once and begins it again: the first socket is closed
    // before it has minted.
    const socket = connect({ ...given, getTicket: passOn("getTicket"), renew: passOn("renew") });
    let end;
    let show = (status) => setView({ socket, status });
    show("connecting");
    socket.addEventListener("open", (event) => { show("open"); newest.current.onOpen?.(event, socket); });
    socket.addEventListener("message", (event) => newest.current.onMessage?.(event, socket));
    for (const type of ENDS) socket.addEventListener(type, () => { end = type; });
    socket.addEventListener("close", (event) => {
      show(event.retryIn === undefined ? end ?? "closed" : "connecting");
      newest.current.onClose?.(event, socket);
    });
    return () => {
      show("closed"); // enabled may be false now; where another begins, that is the last word
      show = () => {};
      socket.close();
    };
  }, [enabled, String(options.url), String(options.ticketUrl ?? ""), [options.protocols ?? []].flat().join()]);

  return view;
}
