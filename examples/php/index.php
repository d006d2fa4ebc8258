<?php
// A PHP backend behind wsticket-gateway: login and a page. The WebSocket is in ws.php.
//
//   apt-get install php-cli
//   php -S 127.0.0.1:3000 index.php & php ws.php
//   wsticket-gateway serve -upstream http://127.0.0.1:3001 -mint-auth http://127.0.0.1:3000/me …

$gateway = getenv('GATEWAY') ?: 'http://127.0.0.1:8080';
$admin = getenv('ADMIN') ?: 'http://127.0.0.1:9090';

session_set_cookie_params(['httponly' => true, 'samesite' => 'Strict']);
session_start();

switch ($_SERVER['REQUEST_METHOD'] . ' ' . $_SERVER['REQUEST_URI']) {
    case 'GET /':
        echo str_replace('GATEWAY', $gateway, file_get_contents(__DIR__ . '/../page/index.html'));
        break;

    case 'GET /client.js':
        header('Content-Type: text/javascript; charset=utf-8');
        readfile(__DIR__ . '/../../client/index.js');
        break;

    case 'POST /login': // a real application asks for a password
        session_regenerate_id(true);
        $_SESSION['user'] = 'ada';
        $_SESSION['sid'] = bin2hex(random_bytes(16)); // the session's own id is a secret, this is not
        http_response_code(204);
        break;

    case 'GET /me': // the gateway asks: who sent this request for a ticket?
        if (!isset($_SESSION['user'])) {
            http_response_code(401);
            break;
        }
        header('Content-Type: application/json');
        echo json_encode(['sub' => $_SESSION['user'], 'sid' => $_SESSION['sid']]);
        break;

    case 'POST /logout': // the session ends, and its connections with it
        $sid = $_SESSION['sid'] ?? null;
        session_destroy();
        if ($sid !== null) {
            file_get_contents("$admin/close", false, stream_context_create(['http' => [
                'method' => 'POST', 'content' => json_encode(['sid' => $sid]), 'timeout' => 5,
            ]]));
        }
        http_response_code(204);
        break;

    default:
        http_response_code(404);
}
