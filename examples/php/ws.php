<?php
// The WebSocket of the PHP example: an echo server in plain PHP that trusts the headers of
// wsticket-gateway. It takes short text frames, one a message; use a library for more
// (Ratchet, Workerman, OpenSwoole).

$port = getenv('WS_PORT') ?: '3001';
$server = stream_socket_server("tcp://127.0.0.1:$port") or exit(1);
$clients = [];

/** Reads the handshake and answers it; returns the user. */
function shake_hands($client): ?string
{
    $headers = [];
    fgets($client); // GET /ws HTTP/1.1
    while (($line = rtrim((string) fgets($client, 16384))) !== '') {
        [$name, $value] = explode(':', $line, 2) + [1 => ''];
        $headers[strtolower($name)] = trim($value);
    }
    if (!isset($headers['sec-websocket-key'], $headers['ticket-subject'])) {
        return null;
    }
    $accept = base64_encode(sha1($headers['sec-websocket-key'] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
    fwrite($client, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n\r\n");
    return rawurldecode($headers['ticket-subject']);
}

/** Sends a short frame: 1 is text, 8 is close. */
function send($client, int $kind, string $text): void
{
    fwrite($client, chr(0x80 | $kind) . chr(strlen($text)) . $text);
}

/** Reads a short frame: its kind and its text, or null at the end. */
function receive($client): ?array
{
    $head = stream_get_contents($client, 2);
    if ($head === false || strlen($head) < 2 || (ord($head[1]) & 0x7f) > 125) {
        return null;
    }
    $mask = stream_get_contents($client, 4);
    $text = stream_get_contents($client, ord($head[1]) & 0x7f);
    return [ord($head[0]) & 0x0f, $text ^ str_repeat($mask, 32)];
}

while (true) {
    $ready = [$server, ...$clients];
    $none = null;
    if (!stream_select($ready, $none, $none, null)) {
        continue;
    }
    foreach ($ready as $socket) {
        if ($socket === $server) {
            $client = stream_socket_accept($server);
            stream_set_timeout($client, 5);
            $user = shake_hands($client);
            if ($user !== null) {
                send($client, 1, "hello $user");
                $clients[(int) $client] = $client;
            }
            continue;
        }
        $frame = receive($socket);
        if ($frame !== null && $frame[0] === 1) {
            send($socket, 1, $frame[1]);
            continue;
        }
        if ($frame !== null && $frame[0] === 8) {
            send($socket, 8, $frame[1]);
        }
        unset($clients[(int) $socket]);
        fclose($socket);
    }
}
