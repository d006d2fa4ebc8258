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
    let end, left;
    const show = (status) => left || setView({ socket, status });
    const tell = (name, event) => left || newest.current[name]?.(event, socket);
    show("connecting");
    socket.addEventListener("open", (event) => { show("open"); tell("onOpen", event); });
    socket.addEventListener("message", (event) => tell("onMessage", event));
    for (const type of ENDS) socket.addEventListener(type, () => { end = type; });
    socket.addEventListener("close", (event) => {
      show(event.retryIn === undefined ? end ?? "closed" : "connecting");
      tell("onClose", event);
    });
    return () => {
      show("closed"); // enabled may be false now; where another begins, that is the last word
      left = true; // its close is no news: the component ended it
      socket.close();
    };
  }, [enabled, String(options.url), String(options.ticketUrl ?? ""), [options.protocols ?? []].flat().join()]);

  return view;
}
