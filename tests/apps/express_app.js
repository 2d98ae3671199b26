// An Express shop with a rolling express-session: every response to a visitor sets the session
// cookie again.
'use strict';

const crypto = require('node:crypto');
const express = require('express');
const session = require('express-session');

const LIFETIMES = {
  'max-age': 'max-age=60',
  public: 'public, max-age=60',
  's-maxage': 'public, s-maxage=60',
};

const app = express();
app.get('/plain', (request, response) => {
  response.set('Cache-Control', 'public, max-age=60').send('<p id="plain">the same for everybody</p>');
});
app.use(express.urlencoded({ extended: false }));
app.use(session({
  secret: 'a secret of the tests',
  resave: false,
  rolling: true,
  saveUninitialized: true,
  cookie: { maxAge: 30 * 60 * 1000 },
}));
app.use((request, response, next) => {
  request.session.visitor ??= crypto.randomBytes(8).toString('hex');
  request.session.cart ??= 0;
  next();
});

const form = '<form method="post"><button>Send</button></form>';

app.get('/page/:lifetime/:round', (request, response) => {
  const { visitor, user, cart } = request.session;
  response.set('Cache-Control', LIFETIMES[request.params.lifetime]);
  response.send(`<p id="session">${visitor}</p><p id="user">${user ?? 'nobody'}</p><p id="cart">${cart}</p>${form}`);
});
app.get('/about/:lifetime/:round', (request, response) => {
  response.set('Cache-Control', LIFETIMES[request.params.lifetime]);
  response.send('<p id="about">about the shop</p>');
});
app.get('/login', (request, response) => {
  response.set('Cache-Control', 'no-store').send(form);
});
app.post('/login', (request, response, next) => {
  const { cart } = request.session;
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.visitor = crypto.randomBytes(8).toString('hex');
    request.session.user = request.body.user;
    request.session.cart = cart;
    response.redirect(303, '/');
  });
});
app.post('/cart', (request, response) => {
  request.session.cart += 1;
  response.redirect(303, '/');
});

app.listen(Number(process.env.PORT), '127.0.0.1');
