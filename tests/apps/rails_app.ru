# A Rails shop in one file: its cookie store writes a new encrypted cookie with every page that reads the session.
require "logger"
require "securerandom"
require "action_controller/railtie"

# Rails adds `private` to a `max-age` that stands alone. Shops that set the lifetime in a middleware do not get it.
class BareMaxAge
  def initialize(app) = @app = app

  def call(env)
    status, headers, body = @app.call(env)
    headers["Cache-Control"] = "max-age=60" if env["PATH_INFO"].split("/")[2] == "max-age"
    [status, headers, body]
  end
end

class Shop < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.consider_all_requests_local = true
  config.hosts.clear
  config.log_level = :warn
  config.logger = Logger.new($stderr)
  config.middleware.insert_before 0, BareMaxAge
  config.secret_key_base = "a secret of the tests" * 4
  config.session_store :cookie_store, key: "_shop_session"
end

class ShopController < ActionController::Base
  LIFETIMES = {
    "max-age" => "max-age=60",
    "public" => "public, max-age=60",
    "s-maxage" => "public, s-maxage=60",
  }.freeze

  protect_from_forgery with: :exception
  before_action :visit, except: [:plain, :about]

  def plain
    response.headers["Cache-Control"] = LIFETIMES["public"]
    render html: %(<p id="plain">the same for everybody</p>).html_safe
  end

  def page
    lifetime
    render html: %(<p id="session">#{session[:visitor]}</p><p id="user">#{session[:user] || "nobody"}</p>).html_safe +
      %(<p id="cart">#{session[:cart]}</p>#{form}).html_safe
  end

  def about
    lifetime
    render html: %(<p id="about">about the shop</p>).html_safe
  end

  def login_form
    response.headers["Cache-Control"] = "no-store"
    render html: form.html_safe
  end

  def login
    cart = session[:cart]
    reset_session
    session.update(visitor: SecureRandom.hex(8), user: params[:user], cart: cart)
    redirect_to "/", status: :see_other
  end

  def cart
    session[:cart] += 1
    redirect_to "/", status: :see_other
  end

  private

  def visit
    session[:visitor] ||= SecureRandom.hex(8)
    session[:cart] ||= 0
  end

  def lifetime
    response.headers["Cache-Control"] = LIFETIMES.fetch(params[:lifetime])
  end

  def form
    token = ERB::Util.html_escape(form_authenticity_token)
    %(<form method="post"><input type="hidden" name="authenticity_token" value="#{token}"><button>Send</button></form>)
  end
end

Shop.initialize!
Shop.routes.draw do
  get "plain", to: "shop#plain"
  get "page/:lifetime/:round", to: "shop#page"
  get "about/:lifetime/:round", to: "shop#about"
  get "login", to: "shop#login_form"
  post "login", to: "shop#login"
  post "cart", to: "shop#cart"
end
run Shop
