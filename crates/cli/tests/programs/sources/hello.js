// A server and 50 clients at once, both here, or one of them: `serve ADDRESS PORT`, `ask ADDRESS PORT`.
const http = require('http');
const [role, host = '127.0.0.1', port = 0] = process.argv.slice(2);

const server = http.createServer((request, response) => {
    let length = 0;
    request.on('data', (part) => (length += part.length));
    request.on('end', () => response.end('got ' + length));
});
const ask = (port) => {
    let left = 50;
    for (let n = 0; n < 50; n++) {
        const options = { host, port, method: 'POST', agent: false };
        const request = http.request(options, (response) => {
            let text = '';
            response.on('data', (part) => (text += part));
            response.on('end', () => {
                if (text !== 'got ' + n * 1000) throw new Error(text);
                if (--left === 0) {
                    console.log('ok');
                    server.close();
                }
            });
        });
        request.end('x'.repeat(n * 1000));
    }
};
if (role === 'ask') ask(port);
else server.listen(port, host, () => role === 'serve' || ask(server.address().port));
