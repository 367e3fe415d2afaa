"""The same service, configured by the environment alone: twistd -ny openai_proxy.tac"""

from twisted.application.service import Application

from openai_proxy.tap import Options, makeService

options = Options()
options.parseOptions([])
application = Application("openai-proxy")
makeService(options).setServiceParent(application)
