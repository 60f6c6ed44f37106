"""plane/asgi"""
