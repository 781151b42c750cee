// A server and 50 clients at once.
const http = require('http');

const server = http.createServer((request, response) => {
    let length = 0;
    request.on('data', (part) => (length += part.length));
    request.on('end', () => response.end('got ' + length));
});
server.listen(0, '127.0.0.1', () => {
    let left = 50;
    for (let n = 0; n < 50; n++) {
        const options = { host: '127.0.0.1', port: server.address().port, method: 'POST', agent: false };
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
});
