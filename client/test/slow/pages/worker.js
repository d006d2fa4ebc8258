// A worker with a connection of its own, which tells its page what it hears.
import { connect } from "/wsticket.js";

const socket = connect({ url: "/ws", ticketUrl: "/ticket", baseDelay: 300, maxDelay: 1_500 });
for (const type of ["open", "message", "close", "error", "mintfailed", "gaveup"]) {
  socket.addEventListener(type, (event) => postMessage(event.data ? `${type} ${event.data}` : type));
}
onmessage = ({ data }) => socket.send(data);
